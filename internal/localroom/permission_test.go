package localroom_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
)

// outcome says in a word what came back.
func outcome(c wire.Content, err error) string {
	if err != nil {
		return err.Error()
	}
	switch c := c.(type) {
	case wire.Error:
		return fmt.Sprint(int(c.Code))
	case wire.Empty:
		return "empty"
	case wire.File:
		return string(c.Data.Reveal())
	case wire.JSON:
		var r struct {
			Exists      *bool
			Secrets     *[]wire.SecretInfo
			AccessToken json.RawMessage `json:"access_token"`
		}
		if err := json.Unmarshal(c.Object, &r); err != nil {
			return err.Error()
		}
		if r.Exists != nil {
			return fmt.Sprint(*r.Exists)
		}
		if r.AccessToken != nil {
			return strings.Trim(string(r.AccessToken), `"`)
		}
		names := ""
		for _, s := range *r.Secrets {
			names += s.ID + "/" + string(s.DelegatedTo) + " "
		}
		return names
	}
	return fmt.Sprintf("%T", c)
}

// Every operation on stored secrets by every kind of caller, on what ann stored: a
// secret of her own, and two that she delegated to bot. bob delegated one of
// the same id as the second.
func TestPermissions(t *testing.T) {
	const own, bots, twice = "own", "bots", "twice"
	callers := map[string]*token.Scope{
		"ann":   scoped(),
		"bot":   scoped(), // the delegatee
		"eve":   scoped(), // neither
		"root":  admin(),
		"quiet": {},  // an api grant without secrets
		"mute":  nil, // no api grant
	}
	get := func(id, delegatedTo string) (string, wire.Content) {
		return wire.GetSecret, wire.JSON{Object: object(wire.GetArguments{SecretID: wire.Nullable(id), DelegatedTo: wire.Nullable(delegatedTo)})}
	}
	getBy := func(id, delegatedTo, delegatedBy string) (string, wire.Content) {
		return wire.GetSecret, wire.JSON{Object: object(wire.GetArguments{SecretID: wire.Nullable(id), DelegatedTo: wire.Nullable(delegatedTo), DelegatedBy: wire.Nullable(delegatedBy)})}
	}
	exists := func(id, delegatedTo, forIdentity string) (string, wire.Content) {
		return wire.Exists, wire.JSON{Object: object(wire.ExistsArguments{SecretID: wire.Nullable(id), DelegatedTo: wire.Nullable(delegatedTo), ForIdentity: wire.Nullable(forIdentity)})}
	}
	remove := func(id, delegatedTo string) (string, wire.Content) {
		return wire.DeleteSecret, wire.JSON{Object: object(wire.DeleteArguments{ID: wire.Nullable(id), DelegatedTo: wire.Nullable(delegatedTo)})}
	}
	set := func(id, delegatedTo, forIdentity string) (string, wire.Content) {
		return wire.SetSecret, setArguments(wire.SetHeaders{SecretID: wire.Nullable(id), DelegatedTo: wire.Nullable(delegatedTo), ForIdentity: wire.Nullable(forIdentity)}, []byte("new"))
	}
	list := func() (string, wire.Content) { return wire.ListSecrets, wire.JSON{} }

	type call = func() (string, wire.Content)
	for _, c := range []struct {
		name string
		call call
		want map[string]string // by caller; quiet and mute are always 1001
	}{
		{"list", list, map[string]string{"ann": "bots/bot own/ twice/bot ", "bot": "", "eve": "", "root": ""}},
		{"get own", func() (string, wire.Content) { return get(own, "") },
			map[string]string{"ann": "v-own", "bot": "empty", "eve": "empty", "root": "empty"}},
		{"get delegated without saying so", func() (string, wire.Content) { return get(bots, "") },
			map[string]string{"ann": "empty", "bot": "empty", "eve": "empty", "root": "empty"}},
		{"get delegated", func() (string, wire.Content) { return get(bots, "bot") },
			map[string]string{"ann": "v-bots", "bot": "v-bots", "eve": "empty", "root": "empty"}},
		{"get delegated by two", func() (string, wire.Content) { return get(twice, "bot") },
			map[string]string{"ann": "v-twice", "bot": "1005", "eve": "empty", "root": "empty"}},
		{"get delegated by ann", func() (string, wire.Content) { return getBy(twice, "", "ann") },
			map[string]string{"ann": "empty", "bot": "v-twice", "eve": "empty", "root": "empty"}},
		{"get delegated by bob", func() (string, wire.Content) { return getBy(twice, "bot", "bob") },
			map[string]string{"ann": "1001", "bot": "v-other", "eve": "1001", "root": "1001"}},
		{"get delegated to bot by ann", func() (string, wire.Content) { return getBy(twice, "bot", "ann") },
			map[string]string{"ann": "v-twice", "bot": "v-twice", "eve": "1001", "root": "1001"}},
		{"get delegated by eve", func() (string, wire.Content) { return getBy(bots, "bot", "eve") },
			map[string]string{"ann": "1001", "bot": "empty", "eve": "empty", "root": "1001"}},
		{"get delegated by oneself", func() (string, wire.Content) { return getBy(bots, "bot", "bot") },
			map[string]string{"ann": "1001", "bot": "empty", "eve": "1001", "root": "1001"}},
		{"get delegated to another", func() (string, wire.Content) { return get(bots, "eve") },
			map[string]string{"ann": "empty", "bot": "empty", "eve": "empty", "root": "empty"}},
		{"exists own", func() (string, wire.Content) { return exists(own, "", "") },
			map[string]string{"ann": "true", "bot": "false", "eve": "false", "root": "false"}},
		{"exists delegated", func() (string, wire.Content) { return exists(bots, "bot", "") },
			map[string]string{"ann": "true", "bot": "true", "eve": "false", "root": "false"}},
		{"exists delegated by two", func() (string, wire.Content) { return exists(twice, "bot", "") },
			map[string]string{"ann": "true", "bot": "1005", "eve": "false", "root": "false"}},
		{"exists for ann", func() (string, wire.Content) { return exists(own, "", "ann") },
			map[string]string{"ann": "true", "bot": "1001", "eve": "1001", "root": "true"}},
		{"exists delegated for ann", func() (string, wire.Content) { return exists(bots, "bot", "ann") },
			map[string]string{"ann": "true", "bot": "1001", "eve": "1001", "root": "true"}},
		{"exists with no id", func() (string, wire.Content) { return exists("", "", "") },
			map[string]string{"ann": "1002", "bot": "1002", "eve": "1002", "root": "1002"}},
		{"set for ann", func() (string, wire.Content) { return set("x", "", "ann") },
			map[string]string{"ann": "empty", "bot": "1001", "eve": "1001", "root": "empty"}},
		{"set for oneself", func() (string, wire.Content) { return set(own, "", "") },
			map[string]string{"ann": "empty", "bot": "empty", "eve": "empty", "root": "empty"}},
		{"set delegated", func() (string, wire.Content) { return set(bots, "bot", "") },
			map[string]string{"ann": "empty", "bot": "empty", "eve": "empty", "root": "empty"}},
		{"delete own", func() (string, wire.Content) { return remove(own, "") },
			map[string]string{"ann": "empty", "bot": "1003", "eve": "1003", "root": "1003"}},
		{"delete delegated without saying so", func() (string, wire.Content) { return remove(bots, "") },
			map[string]string{"ann": "1003", "bot": "1003", "eve": "1003", "root": "1003"}},
		{"delete delegated", func() (string, wire.Content) { return remove(bots, "bot") },
			map[string]string{"ann": "empty", "bot": "1003", "eve": "1003", "root": "1003"}},
		{"delete with no id", func() (string, wire.Content) { return remove("", "") },
			map[string]string{"ann": "1002", "bot": "1002", "eve": "1002", "root": "1002"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t)
			for name, scope := range callers {
				// Each caller finds the same room.
				for _, owner := range []string{"ann", "bob", "bot", "eve", "root"} {
					list, err := s.store.List("demo", owner)
					if err != nil {
						t.Fatal(err)
					}
					for _, i := range list {
						if err := s.store.Delete(i.RecordKey); err != nil {
							t.Fatal(err)
						}
					}
				}
				mustSet(t, s.store, at("ann", "", own), "", "", "v-own")
				mustSet(t, s.store, at("ann", "bot", bots), "", "", "v-bots")
				mustSet(t, s.store, at("ann", "bot", twice), "", "", "v-twice")
				mustSet(t, s.store, at("bob", "bot", twice), "", "", "v-other")

				want := c.want[name]
				if scope == nil || scope.Secrets == nil {
					want = "1001"
				}
				tool, arguments := c.call()
				if got := outcome(s.connect(name, scope).invoke(t.Context(), wire.Secrets, tool, arguments)); got != want {
					t.Errorf("%s gets %q, want %q", name, got, want)
				}
				if name == "ann" {
					continue
				}
				for a, want := range map[[2]string]string{{"", own}: "v-own", {"bot", bots}: "v-bots"} {
					if _, v, err := s.store.Get(at("ann", a[0], a[1]), "", ""); err != nil || string(v.Reveal()) != want {
						t.Errorf("after %s did it, ann's %s is %q, error %v", name, a[1], v.Reveal(), err)
					}
				}
			}
		})
	}
}

// answerAll has p provide whatever it is asked for, until the test ends.
func (p *peer) answerAll(t testing.TB) {
	var answering sync.WaitGroup
	t.Cleanup(func() {
		p.conn.CloseNow()
		answering.Wait()
	})
	ctx := t.Context()
	answering.Go(func() {
		for {
			m, err := p.receive(ctx)
			if err != nil {
				return
			}
			var e struct {
				RequestID string `json:"request_id"`
			}
			header, _, err := wire.Unpack(m.Payload)
			if err != nil || json.Unmarshal(header, &e) != nil {
				t.Errorf("%v came", m)
				return
			}
			tool, answer := wire.ProvideSecret, provided(e.RequestID, "provided")
			switch m.Type {
			case wire.TypeRequestSecret:
			case wire.TypeRequestOAuthToken:
				tool, answer = wire.ProvideOAuthAuthorization, jsonObject(fmt.Sprintf(`{"request_id":%q,"code":"good","error":null}`, e.RequestID))
			default:
				continue
			}
			payload, err := wire.PackInvoke(wire.Secrets, tool, answer)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := p.send(ctx, wire.TypeInvokeTool, payload); err != nil {
				return
			}
		}
	})
}

// Every operation on requests by every kind of caller. ann, who is asked and
// consents, provided for herself and for bot before: a secret, "own" and
// "bots", and an OAuth token, "access-1" and "access-2". zoe waits for another
// secret and another authorization of ann's.
func TestRequestPermissions(t *testing.T) {
	callers := []string{"ann", "bot", "eve", "root", "quiet", "mute", "ann, no scope"}
	scopes := map[string]*token.Scope{"ann": scoped(), "bot": scoped(), "eve": scoped(), "root": admin(), "quiet": {}}
	const (
		scopeless = " quiet:1001 mute:1001 ann, no scope:1001"
		both      = "/u=own bot/u=bots"
	)
	type place struct{ ann, oauth, secretID, oauthID string }
	request := func(more string) func(place) (string, string) {
		return func(p place) (string, string) {
			return wire.RequestSecret, `{"participant_id":"` + p.ann + `","url":"u","type":"t"` + more + `}`
		}
	}
	authorize := func(more string) func(place) (string, string) {
		return func(p place) (string, string) {
			return wire.RequestOAuthToken, `{"participant_id":"` + p.ann + `","oauth":` + p.oauth + `,"redirect_uri":"http://127.0.0.1:1/cb"` + more + `}`
		}
	}
	offline := func(more string) func(place) (string, string) {
		return func(p place) (string, string) { return wire.GetOfflineOAuthToken, `{"oauth":` + p.oauth + more + `}` }
	}
	remove := func(more string) func(place) (string, string) {
		return func(place) (string, string) { return wire.DeleteRequestedSecret, `{"url":"u","type":"t"` + more + `}` }
	}
	for name, c := range map[string]struct {
		call func(place) (tool, arguments string)
		want string // of each caller
		// left is what ann has stored then, of the secrets, where it is not both
		left map[string]string
	}{
		"request": {
			request(``), "ann:own bot:bots eve:provided root:provided" + scopeless,
			map[string]string{"eve": both + " eve/u=provided", "root": both + " root/u=provided"},
		},
		"request for bot": {
			request(`,"delegate_to":"bot"`), "ann:bots bot:bots eve:1001 root:provided" + scopeless,
			map[string]string{"root": "/u=own bot/u=provided"}, // root asks; it does not read what bot has
		},
		"request for eve": {
			request(`,"delegate_to":"eve"`), "ann:provided bot:1001 eve:provided root:provided" + scopeless,
			map[string]string{"ann": both + " eve/u=provided", "eve": both + " eve/u=provided", "root": both + " eve/u=provided"},
		},
		"request for who is asked": {
			request(`,"delegate_to":"ann"`), "ann:provided bot:1001 eve:1001 root:provided" + scopeless,
			map[string]string{"ann": "/u=own ann/u=provided bot/u=bots", "root": "/u=own ann/u=provided bot/u=bots"},
		},
		"get the requested": {
			func(place) (string, string) {
				return wire.GetSecret, `{"secret_id":"` + localroom.RequestedID("u", "t") + `","delegated_to":"bot"}`
			},
			"ann:bots bot:bots eve:empty root:empty" + scopeless, nil,
		},
		"delete the requested": {
			remove(``), "ann:empty bot:empty eve:empty root:empty" + scopeless,
			map[string]string{"ann": "bot/u=bots", "bot": "/u=own"},
		},
		"delete the requested of bot": {
			remove(`,"delegated_to":"bot"`), "ann:empty bot:empty eve:empty root:empty" + scopeless,
			map[string]string{"ann": "/u=own", "bot": "/u=own"},
		},
		"reject what zoe requests": {
			func(p place) (string, string) {
				return wire.ProvideSecret, `{"request_id":"` + p.secretID + `","error":"no"}`
			},
			"ann:empty bot:1001 eve:1001 root:1001 quiet:1001 mute:1001 ann, no scope:empty", nil,
		},
		"authorize as a secret": {
			func(p place) (string, string) {
				return wire.ProvideSecret, `{"request_id":"` + p.oauthID + `","error":null}`
			},
			"ann:1003 bot:1003 eve:1003 root:1003 quiet:1003 mute:1003 ann, no scope:1003", nil,
		},
		"authorize zoe": {
			func(p place) (string, string) {
				return wire.ProvideOAuthAuthorization, `{"request_id":"` + p.oauthID + `","code":"good","error":null}`
			},
			"ann:empty bot:1001 eve:1001 root:1001 quiet:1001 mute:1001 ann, no scope:empty", nil,
		},
		"reject to authorize zoe": {
			func(p place) (string, string) {
				return wire.ProvideOAuthAuthorization, `{"request_id":"` + p.oauthID + `","code":null,"error":"no"}`
			},
			"ann:empty bot:1001 eve:1001 root:1001 quiet:1001 mute:1001 ann, no scope:empty", nil,
		},
		"request a token":         {authorize(``), "ann:access-1 bot:access-2 eve:access-3 root:access-3" + scopeless, nil},
		"request a token for bot": {authorize(`,"delegate_to":"bot"`), "ann:access-2 bot:access-2 eve:1001 root:access-3" + scopeless, nil},
		"request a token for eve": {authorize(`,"delegate_to":"eve"`), "ann:access-3 bot:1001 eve:access-3 root:access-3" + scopeless, nil},
		"token":                   {offline(``), "ann:access-1 bot:null eve:null root:null" + scopeless, nil},
		"token for bot":           {offline(`,"delegated_to":"bot"`), "ann:access-2 bot:null eve:null root:null" + scopeless, nil},
		"token by ann":            {offline(`,"delegated_by":"ann"`), "ann:null bot:access-2 eve:null root:null" + scopeless, nil},
		"token for bot by ann":    {offline(`,"delegated_to":"bot","delegated_by":"ann"`), "ann:access-2 bot:access-2 eve:1001 root:access-2" + scopeless, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, caller := range callers {
				s, provider := serve(t), newProvider(t)
				asked := s.connect("ann", scoped())
				p := place{ann: asked.id, oauth: fmt.Sprintf(
					`{"client_id":"client","authorization_endpoint":"%[1]s/auth","token_endpoint":"%[1]s/token"}`, provider.URL)}

				// Before ann consents to everything, zoe asks.
				zoe := s.connect("zoe", scoped())
				tool, arguments := request(`,"delegate_to":"zoe"`)(p)
				zoe.call(t, tool, jsonObject(arguments))
				p.secretID = asked.asked(t).RequestID
				tool, arguments = authorize(``)(p)
				zoe.call(t, tool, jsonObject(arguments))
				var e wire.OAuthRequest
				asked.event(t, wire.TypeRequestOAuthToken, &e)
				p.oauthID = e.RequestID

				asked.answerAll(t)
				for _, first := range []string{"ann", "bot"} {
					consented := s.connect(first, scoped())
					tool, arguments := authorize(``)(p)
					consented.response(t, consented.call(t, tool, jsonObject(arguments)))
				}
				id := localroom.RequestedID("u", "t")
				mustSet(t, s.store, at("ann", "", id), "t", "u", "own")
				mustSet(t, s.store, at("ann", "bot", id), "t", "u", "bots")

				identity, _, _ := strings.Cut(caller, ",")
				as := s.connect(identity, scopes[caller])
				var content wire.Content
				tool, arguments = c.call(p)
				if content = jsonObject(arguments); tool == wire.ProvideSecret {
					content = wire.Binary{Headers: []byte(arguments)}
				}
				got = append(got, caller+":"+outcome(as.response(t, as.call(t, tool, content)), nil))

				left := both
				if l, ok := c.left[caller]; ok {
					left = l
				}
				if stored := s.stored("ann", "t"); stored != left {
					t.Errorf("after %s did it, ann has %s, want %s", caller, stored, left)
				}
			}
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// Empty strings are null, as one client may send them.
func TestEmptyStringsAreNull(t *testing.T) {
	s := serve(t)
	p := s.connect("ann", scoped())
	c, err := p.invoke(t.Context(), wire.Secrets, wire.SetSecret, wire.Binary{
		Headers: []byte(`{"secret_id":"a","type":"","name":"","delegated_to":"","for_identity":"","has_data":true}`), Data: value("v"),
	})
	if got := outcome(c, err); got != "empty" {
		t.Fatal(got)
	}
	c, err = p.invoke(t.Context(), wire.Secrets, wire.GetSecret, wire.JSON{Object: []byte(`{"secret_id":"a","type":"","name":"","delegated_to":""}`)})
	if got := outcome(c, err); got != "v" {
		t.Errorf("get: %s", got)
	}
}

func TestTwoIdentitiesDoNotSeeEachOther(t *testing.T) {
	s := serve(t)
	ann, bob, annAgain := s.connect("ann", scoped()), s.connect("bob", scoped()), s.connect("ann", scoped())
	for name, p := range map[string]*peer{"ann": ann, "bob": bob} {
		if err := setSecret(t.Context(), p, "key", "of "+name); err != nil {
			t.Fatal(err)
		}
	}
	for want, p := range map[string][]*peer{"of ann": {ann, annAgain}, "of bob": {bob}} {
		for _, p := range p {
			if got := outcome(p.invoke(t.Context(), wire.Secrets, wire.GetSecret, wire.JSON{Object: []byte(`{"secret_id":"key"}`)})); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	}
	jwt := sign(t, s.dir, token.Token{Name: "ann", Room: "other", API: scoped()})
	p, err := connect(t.Context(), nil, s.URL+"/rooms/other", jwt)
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.CloseNow()
	if got := outcome(p.invoke(t.Context(), wire.Secrets, wire.ListSecrets, wire.JSON{})); got != "" {
		t.Errorf("another room has %q", got)
	}
}
