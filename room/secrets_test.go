package room_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// An exchange is a call of an operation, the request it should become, and what
// becomes of an answer.
type exchange struct {
	f         func() (any, error)
	tool      string
	arguments string // the JSON, or the headers and the bytes
	answer    wire.Content
	want      any
	err       error
	text      string // of err
}

// value is what exchanges have for bytes.
var value = secret.New([]byte("\x00\xff"))

// exchanges runs all on one connection.
func exchanges(t *testing.T, all func(context.Context, *room.Secrets) []exchange) {
	calls := make(chan call, 1)
	answers := make(chan wire.Content, 1)
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		p.serve(func(c call) wire.Content { calls <- c; return <-answers })
	})))
	for _, tt := range all(soon(t), c.Secrets()) {
		answers <- tt.answer
		got, err := tt.f()
		asked := <-calls
		var arguments string
		switch a := asked.arguments.(type) {
		case wire.JSON:
			arguments = string(a.Object)
		case wire.Binary:
			arguments = fmt.Sprintf("%s %x", a.Headers, a.Data.Reveal())
		}
		if asked.Toolkit != "secrets" || asked.Tool != tt.tool || arguments != tt.arguments {
			t.Errorf("asked %s.%s with %s, want %s with %s", asked.Toolkit, asked.Tool, arguments, tt.tool, tt.arguments)
		}
		if tt.err != nil {
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "canary") {
				t.Errorf("%s: %v, want %v with %q", tt.tool, err, tt.err, tt.text)
			}
			continue
		}
		if found, ok := got.(room.Secret); ok {
			if !found.Value.Equal(value) {
				t.Error("got other bytes")
			}
			found.Value = secret.Value{}
			got = found
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %#v, %v; want %#v", tt.tool, got, err, tt.want)
		}
	}
}

func object(s string) wire.Content { return wire.JSON{Object: []byte(s)} }

// Requests as section 6 has them, key by key, and what answers mean.
func TestSecrets(t *testing.T) {
	exchanges(t, func(ctx context.Context, s *room.Secrets) []exchange {
		list := func() (any, error) { return s.List(ctx) }
		exists := func() (any, error) {
			return s.Exists(ctx, room.ExistsQuery{ID: "i", DelegatedTo: "d", ForIdentity: "f"})
		}
		getByID := func() (any, error) { return s.Get(ctx, room.SecretQuery{ID: "i"}) }
		set := func() (any, error) { return nil, s.Set(ctx, room.NewSecret{ID: "i", Value: value}) }
		remove := func() (any, error) { return nil, s.Delete(ctx, "i", "d") }

		const (
			pages     = `{"paged":true}`
			existsOf  = `{"secret_id":"i","delegated_to":"d","for_identity":"f"}`
			getOf     = `{"secret_id":"i","type":null,"name":null,"delegated_to":null}`
			setOf     = `{"secret_id":"i","type":null,"name":null,"delegated_to":null,"for_identity":null,"has_data":true} 00ff`
			deleteOf  = `{"id":"i","delegated_to":"d"}`
			unfit     = "unexpected response to secrets."
			forbidden = "permission denied"
		)
		return []exchange{
			{list, "list_secrets", pages, object(`{"secrets":[]}`), []room.SecretInfo{}, nil, ""},
			{list, "list_secrets", pages, object(`{"secrets":[{"id":"i","type":"t","name":"n","delegated_to":null,"agent_id":"a"},{"id":"j","type":"","name":"","delegated_to":"d"}]}`),
				[]room.SecretInfo{{ID: "j", DelegatedTo: "d"}, {ID: "i", Type: "t", Name: "n"}}, nil, ""},
			{list, "list_secrets", pages, object(`{}`), nil, room.ErrUnexpectedAnswer, unfit + "list_secrets: no list"},
			{list, "list_secrets", pages, object(`{"secrets":{}}`), nil, room.ErrUnexpectedAnswer, unfit + "list_secrets: a field of a wrong type"},
			{list, "list_secrets", pages, wire.Empty{}, nil, room.ErrUnexpectedAnswer, unfit + "list_secrets: empty"},
			{exists, "exists", existsOf, object(`{"exists":true}`), true, nil, ""},
			{exists, "exists", existsOf, object(`{"exists":false}`), false, nil, ""},
			{exists, "exists", existsOf, object(`{"exists":null}`), nil, room.ErrUnexpectedAnswer, "no boolean"},
			{exists, "exists", existsOf, object(`{"exists":"true"}`), nil, room.ErrUnexpectedAnswer, "a field of a wrong type"},
			{exists, "exists", existsOf, wire.Error{Text: forbidden, Code: wire.PermissionDenied}, nil, room.ErrPermissionDenied, "secrets.exists: permission denied (code 1001)"},
			{getByID, "get_secret", getOf, wire.File{Name: "n", MimeType: "t", Data: value}, room.Secret{Name: "n", Type: "t"}, nil, ""},
			{getByID, "get_secret", getOf, wire.Empty{}, nil, room.ErrNotFound, "secrets.get_secret: secret not found (code 1003)"},
			{getByID, "get_secret", getOf, wire.Text{Text: "canary"}, nil, room.ErrUnexpectedAnswer, unfit + "get_secret: text"},
			{getByID, "get_secret", getOf, wire.Binary{Data: value}, nil, room.ErrUnexpectedAnswer, unfit + "get_secret: binary"},
			{getByID, "get_secret", getOf, wire.Error{Code: wire.Conflict}, nil, room.ErrConflict, "secrets.get_secret: the room returned an error (code 1005)"},
			{set, "set_secret", setOf, wire.Empty{}, nil, nil, ""},
			{set, "set_secret", setOf, object(`{}`), nil, nil, ""},
			{set, "set_secret", setOf, wire.Text{Text: "canary"}, nil, room.ErrUnexpectedAnswer, unfit + "set_secret: text"},
			{remove, "delete_secret", deleteOf, wire.Empty{}, nil, nil, ""},
			{remove, "delete_secret", deleteOf, object(`{}`), nil, nil, ""},
			{getByID, "get_secret", getOf, wire.Error{Text: "no toolkit", Code: wire.NotFound}, nil, room.ErrUnsupported, "not supported by the room: secrets.get_secret: no toolkit"},
			{list, "list_secrets", pages, wire.Error{Code: wire.NotFound}, nil, room.ErrUnsupported, "not supported by the room"},
			{exists, "exists", existsOf, wire.Error{Code: wire.NotFound}, nil, room.ErrUnsupported, "not supported by the room"},
			{set, "set_secret", setOf, wire.Error{Code: wire.NotFound}, nil, room.ErrUnsupported, "not supported by the room"},
			{remove, "delete_secret", deleteOf, wire.Error{Text: "gone", Code: wire.NotFound}, nil, room.ErrNotFound, "gone (code 1003)"},
			{remove, "delete_secret", deleteOf, wire.File{Data: value}, nil, room.ErrUnexpectedAnswer, unfit + "delete_secret: file"},
			{remove, "delete_secret", deleteOf, wire.Error{Text: "odd", Code: 4711}, nil, &room.Error{Code: 4711}, "secrets.delete_secret: odd (code 4711)"},
		}
	})
}

// A list comes in as many calls as the room has pages. It ends, and has a bound.
func TestListPages(t *testing.T) {
	for name, of := range map[string]struct {
		page func(n int, after string) string
		want string // IDs, or an error
	}{
		"pages": {func(n int, after string) string {
			return []string{
				`{"secrets":[{"id":"c","name":"2"}],"next":"m1"}`,
				`{"secrets":[],"next":"m2"}`,
				`{"secrets":[{"id":"b","name":"1"},{"id":"a","name":"1","delegated_by":"bob"}]}`,
			}[n]
		}, "m1 m2: a b c"},
		"the same page": {func(int, string) string { return `{"secrets":[{"id":"a"}],"next":"m"}` }, "the same page twice"},
		"too much": {func(n int, _ string) string {
			if n == 1000 {
				return `{"secrets":[]}`
			}
			return fmt.Sprintf(`{"secrets":[{}],"next":"%d"}`, n)
		}, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			n, after := 0, ""
			c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
				p.ready()
				p.serve(func(c call) wire.Content {
					var a wire.ListArguments
					if json.Unmarshal(c.arguments.(wire.JSON).Object, &a) != nil || !a.Paged {
						t.Errorf("got %v", c.arguments)
					}
					if a.After != "" {
						after += string(a.After) + " "
					}
					n++
					return object(of.page(n-1, string(a.After)))
				})
			})))
			list, err := c.Secrets().List(soon(t))
			got := strings.TrimSpace(after) + ":"
			for _, i := range list {
				got += " " + i.ID
			}
			if err != nil {
				got = err.Error()
				if !errors.Is(err, room.ErrUnexpectedAnswer) || !strings.Contains(got, of.want) {
					t.Errorf("%v after %d pages", err, n)
				}
			} else if got != of.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A room that does not report owners cannot select by them.
func TestDelegatedBy(t *testing.T) {
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		p.serve(func(c call) wire.Content {
			return wire.File{Data: value, DelegatedBy: map[string]string{"of bob": "bob"}[c.secretID()]}
		})
	})))
	for _, tt := range []struct {
		id, by, want string
		err          error
	}{
		{id: "of bob", want: "bob"},
		{id: "of bob", by: "bob", want: "bob"},
		{id: "of bob", by: "carol", err: room.ErrUnsupported},
		{id: "of bob", by: "alice", err: room.ErrUnsupported},
		{id: "not said", by: "bob", err: room.ErrUnsupported},
		{id: "not said", by: "alice"}, // this identity
		{id: "not said"},
	} {
		found, err := c.Secrets().Get(soon(t), room.SecretQuery{ID: tt.id, DelegatedBy: tt.by})
		if found.DelegatedBy != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s by %q: %q, %v", tt.id, tt.by, found.DelegatedBy, err)
		}
	}
}

func TestNamesAreUTF8(t *testing.T) {
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		p.hold()
	})))
	s, ctx := c.Secrets(), soon(t)
	for _, err := range []error{
		s.Set(ctx, room.NewSecret{ID: "a\xff"}),
		s.Delete(ctx, "a\xff", ""),
	} {
		if err == nil || !strings.Contains(err.Error(), "UTF-8") {
			t.Error(err)
		}
	}
}

func TestErrorKinds(t *testing.T) {
	err := &room.Error{Op: "secrets.get_secret", Code: int(wire.NotFound), Text: "x"}
	var none error = &room.Error{Op: "secrets.get_secret", Text: "x"}
	switch {
	case !errors.Is(err, room.ErrNotFound), errors.Is(err, room.ErrConflict):
		t.Error("the code does not tell the kind")
	case errors.Is(err, &room.Error{Op: "other", Code: int(wire.NotFound)}):
		t.Error("an error is another one of its kind")
	case errors.Is(none, room.ErrNotFound):
		t.Error("no code is a kind")
	}
}

// A room must not write on someone's terminal.
func TestErrorTextIsPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b]0;owned\x07\x1b[2J": `\x1b]0;owned\a\x1b[2J`,
		"two\nlines\r":            `two\nlines\r`,
		"bidi \u202e c1 \u009b":   `bidi \u202e c1 \u009b`,
		"grüße, it's \"fine\" \\": "grüße, it's \"fine\" \\",
		"\xff":                    "\ufffd",
	} {
		c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
			p.ready()
			c, _ := p.next()
			p.answer(c.id, wire.Error{Text: in})
			p.answer(c.id+1, wire.Error{Text: strings.Repeat(in, 1000)})
			p.hold()
		})))
		_, err := get(soon(t), c, "k")
		var e *room.Error
		if !errors.As(err, &e) || e.Text != want {
			t.Errorf("%q reads %v, want %s", in, err, want)
		}
	}
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		p.serve(func(call) wire.Content { return wire.Error{Text: strings.Repeat("ü", 1<<16)} })
	})))
	_, err := get(soon(t), c, "k")
	if want := "secrets.get_secret: " + strings.Repeat("ü", 250) + "…"; err == nil || err.Error() != want {
		t.Error(err)
	}
}

// An answer that is no content fails its request, not the connection.
func TestAnswerThatIsNoContent(t *testing.T) {
	connections := 0
	c := dial(t, listen(t, scripted(t, func(p *peer, _ int) {
		connections++
		p.ready()
		for _, payload := range []string{"", "canary", "\x00\x00\x01\x00\x00\x00\x00\x00{}", string(wire.Pack([]byte(`{"type":"canary-type"}`), nil)), string(wire.Pack([]byte(`[]`), nil))} {
			c, _ := p.next()
			p.send(wire.Message{ID: c.id, Type: wire.TypeResponse, Payload: []byte(payload)})
		}
		p.serve(func(c call) wire.Content { return text(c.secretID()) })
	})))
	for range 5 {
		if _, err := get(soon(t), c, "k"); !errors.Is(err, room.ErrUnexpectedAnswer) {
			t.Error(err)
		}
	}
	if v, err := get(soon(t), c, "k"); err != nil || v != "k" || connections != 1 {
		t.Error(v, err, connections)
	}
}
