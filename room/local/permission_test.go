package local_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/room/wire"
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
			Exists  *bool
			Secrets *[]wire.SecretInfo
		}
		if err := json.Unmarshal(c.Object, &r); err != nil {
			return err.Error()
		}
		if r.Exists != nil {
			return fmt.Sprint(*r.Exists)
		}
		names := ""
		for _, s := range *r.Secrets {
			names += s.ID + "/" + string(s.DelegatedTo) + " "
		}
		return names
	}
	return fmt.Sprintf("%T", c)
}

// Every operation of this room by every kind of caller, on what ann stored: a
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
						if err := s.store.Delete(i.Address); err != nil {
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
