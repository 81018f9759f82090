package room_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// Requests to people, and their answers, key by key.
func TestRequests(t *testing.T) {
	exchanges(t, func(ctx context.Context, s *room.Secrets) []exchange {
		oauth := &room.OAuth{ClientID: "c", AuthorizationEndpoint: "https://a", TokenEndpoint: "https://t", Scopes: []string{"repo"}}
		confidential := &room.OAuth{ClientID: "c", ClientSecret: secret.New([]byte("canary")), NoPKCE: true}
		connector := &room.Connector{ServerURL: "https://mcp"}
		reveal := func(v secret.Value, err error) (any, error) { return string(v.Reveal()), err }

		request := func() (any, error) {
			return reveal(s.Request(ctx, room.SecretRequest{ParticipantID: "p", URL: "https://stripe.com", Type: "text/plain", DelegateTo: "d", Timeout: 1500 * time.Millisecond}))
		}
		provide := func() (any, error) { return nil, s.Provide(ctx, "r", value) }
		reject := func() (any, error) { return nil, s.Reject(ctx, "r", "not today") }
		forget := func() (any, error) { return nil, s.DeleteRequested(ctx, "https://stripe.com", "text/plain", "") }
		authorize := func() (any, error) {
			return reveal(s.RequestOAuthToken(ctx, room.OAuthRequest{ParticipantID: "p", OAuth: oauth, RedirectURI: "https://r", Timeout: 30 * time.Second}))
		}
		connect := func() (any, error) {
			return reveal(s.RequestOAuthToken(ctx, room.OAuthRequest{ParticipantID: "p", OAuth: confidential, Connector: connector, DelegateTo: "d", Timeout: time.Second}))
		}
		code := func() (any, error) { return nil, s.ProvideAuthorization(ctx, "r", secret.New([]byte("canary"))) }
		deny := func() (any, error) { return nil, s.RejectAuthorization(ctx, "r", "") }
		offline := func() (any, error) {
			return reveal(s.OfflineOAuthToken(ctx, room.OfflineOAuthQuery{OAuth: oauth, DelegatedBy: "alice"}))
		}
		const (
			requestOf   = `{"url":"https://stripe.com","type":"text/plain","participant_id":"p","timeout":2,"delegate_to":"d"}`
			forgetOf    = `{"url":"https://stripe.com","type":"text/plain","delegated_to":null}`
			oauthOf     = `{"client_id":"c","client_secret":null,"authorization_endpoint":"https://a","token_endpoint":"https://t","no_pkce":null,"scopes":["repo"]}`
			authorizeOf = `{"connector":null,"oauth":` + oauthOf + `,"redirect_uri":"https://r","participant_id":"p","timeout":30,"delegate_to":null}`
			offlineOf   = `{"connector":null,"oauth":` + oauthOf + `,"delegated_to":null,"delegated_by":"alice"}`
			unfit       = "unexpected response to secrets."
		)
		return []exchange{
			{request, "request_secret", requestOf, wire.File{Name: "n", MimeType: "t", Data: secret.New([]byte("v"))}, "v", nil, ""},
			{request, "request_secret", requestOf, wire.File{}, "", nil, ""},
			{request, "request_secret", requestOf, wire.Error{Text: "not today", Code: wire.OperationFailed}, nil, room.ErrOperationFailed, "not today"},
			{request, "request_secret", requestOf, wire.Error{Text: "too late", Code: wire.Timeout}, nil, room.ErrTimeout, "too late"},
			{request, "request_secret", requestOf, wire.Error{Text: "nobody", Code: wire.NotFound}, nil, room.ErrNotFound, "nobody"},
			{request, "request_secret", requestOf, wire.Empty{}, nil, room.ErrUnexpectedAnswer, unfit + "request_secret: empty"},
			{provide, "provide_secret", `{"request_id":"r","error":null} 00ff`, wire.Empty{}, nil, nil, ""},
			{provide, "provide_secret", `{"request_id":"r","error":null} 00ff`, object(`{}`), nil, nil, ""},
			{provide, "provide_secret", `{"request_id":"r","error":null} 00ff`, wire.Text{Text: "canary"}, nil, room.ErrUnexpectedAnswer, unfit + "provide_secret: text"},
			{provide, "provide_secret", `{"request_id":"r","error":null} 00ff`, wire.Error{Code: wire.NotFound}, nil, room.ErrNotFound, "1003"},
			{provide, "provide_secret", `{"request_id":"r","error":null} 00ff`, wire.Error{Code: wire.PermissionDenied}, nil, room.ErrPermissionDenied, "1001"},
			{reject, "provide_secret", `{"request_id":"r","error":"not today"} `, wire.Empty{}, nil, nil, ""},
			{forget, "delete_requested_secret", forgetOf, wire.Empty{}, nil, nil, ""},
			{forget, "delete_requested_secret", forgetOf, wire.Error{Code: wire.NotFound}, nil, room.ErrUnsupported, "not supported by the room"},
			{authorize, "request_oauth_token", authorizeOf, object(`{"access_token":"token"}`), "token", nil, ""},
			{authorize, "request_oauth_token", authorizeOf, object(`{"access_token":null}`), "", nil, ""},
			{authorize, "request_oauth_token", authorizeOf, object(`{"access_token":{"canary":1}}`), nil, room.ErrUnexpectedAnswer, "a field of a wrong type"},
			{authorize, "request_oauth_token", authorizeOf, wire.Text{Text: "canary"}, nil, room.ErrUnexpectedAnswer, unfit + "request_oauth_token: text"},
			{
				connect, "request_oauth_token", `{"connector":{"openai_connector_id":null,"server_url":"https://mcp","client_secret_id":null},` +
					`"oauth":{"client_id":"c","client_secret":"canary","authorization_endpoint":null,"token_endpoint":null,"no_pkce":true,"scopes":null},` +
					`"redirect_uri":null,"participant_id":"p","timeout":1,"delegate_to":"d"}`,
				wire.Error{Text: "denied", Code: wire.OperationFailed}, nil, room.ErrOperationFailed, "denied",
			},
			{code, "provide_oauth_authorization", `{"request_id":"r","code":"canary","error":null}`, wire.Empty{}, nil, nil, ""},
			{code, "provide_oauth_authorization", `{"request_id":"r","code":"canary","error":null}`, wire.Error{Text: "invalid_grant", Code: wire.OperationFailed}, nil, room.ErrOperationFailed, "invalid_grant"},
			{deny, "provide_oauth_authorization", `{"request_id":"r","code":null,"error":""}`, wire.Empty{}, nil, nil, ""},
			{offline, "get_offline_oauth_token", offlineOf, object(`{"access_token":"token"}`), "token", nil, ""},
			{offline, "get_offline_oauth_token", offlineOf, object(`{"access_token":null}`), nil, room.ErrNotFound, "token not found"},
			{offline, "get_offline_oauth_token", offlineOf, object(`{"access_token":""}`), nil, room.ErrNotFound, "token not found"},
			{offline, "get_offline_oauth_token", offlineOf, object(`{}`), nil, room.ErrNotFound, "token not found"},
			{offline, "get_offline_oauth_token", offlineOf, wire.Error{Code: wire.NotFound}, nil, room.ErrUnsupported, "not supported by the room"},
		}
	})
}

// The room keeps the time; one that does not ends a request a little later.
func TestRequestTimeout(t *testing.T) {
	for name, tt := range map[string]struct {
		field, context time.Duration
		sent           int
		took           time.Duration
		err            error
	}{
		"neither":              {0, 0, 300, 310 * time.Second, room.ErrTimeout},
		"field":                {7 * time.Second, 0, 7, 17 * time.Second, room.ErrTimeout},
		"context":              {0, 9500 * time.Millisecond, 10, 9500 * time.Millisecond, context.DeadlineExceeded},
		"context before field": {time.Hour, 20 * time.Second, 20, 20 * time.Second, context.DeadlineExceeded},
		"field before context": {time.Second, time.Hour, 1, 11 * time.Second, room.ErrTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := make(chan int, 1)
				c := dial(t, listenInBubble(t, scripted(t, func(p *peer, _ int) {
					p.ready()
					c, _ := p.next()
					var a wire.RequestSecretArguments
					if err := json.Unmarshal(c.arguments.(wire.JSON).Object, &a); err != nil || a.Timeout == nil {
						t.Error(err)
						return
					}
					asked <- *a.Timeout
					p.hold()
				})))
				ctx := t.Context()
				if tt.context > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.context)
					defer cancel()
				}
				start := time.Now()
				_, err := c.Secrets().Request(ctx, room.SecretRequest{ParticipantID: "p", URL: "u", Type: "t", Timeout: tt.field})
				if sent := <-asked; !errors.Is(err, tt.err) || sent != tt.sent || time.Since(start) != tt.took {
					t.Errorf("sent %d, failed after %s: %v", sent, time.Since(start), err)
				}
				_ = c.Close()
			})
		})
	}
}

// After a connection was lost requests and answers are made again; the answer
// that an answer is not awaited any more means that the first try did it.
func TestRequestsAfterReconnect(t *testing.T) {
	ctx := soon(t)
	for name, f := range map[string]func(s *room.Secrets) error{
		"request_secret": func(s *room.Secrets) error {
			v, err := s.Request(ctx, room.SecretRequest{ParticipantID: "p", URL: "u", Type: "t"})
			if err == nil && string(v.Reveal()) != "v" {
				t.Error("got another value")
			}
			return err
		},
		"request_oauth_token": func(s *room.Secrets) error {
			_, err := s.RequestOAuthToken(ctx, room.OAuthRequest{ParticipantID: "p"})
			return err
		},
		"provide_secret":              func(s *room.Secrets) error { return s.Provide(ctx, "r", value) },
		"reject_secret":               func(s *room.Secrets) error { return s.Reject(ctx, "r", "no") },
		"provide_oauth_authorization": func(s *room.Secrets) error { return s.ProvideAuthorization(ctx, "r", code) },
		"delete_requested_secret":     func(s *room.Secrets) error { return s.DeleteRequested(ctx, "u", "t", "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, listen(t, scripted(t, func(p *peer, n int) {
				p.ready()
				c, _ := p.next()
				switch {
				case n == 0: // drop
				case c.Tool == "request_secret":
					p.answer(c.id, text("v"))
				case c.Tool == "request_oauth_token":
					p.answer(c.id, object(`{"access_token":"v"}`))
				case c.Tool == "delete_requested_secret":
					p.answer(c.id, wire.Empty{})
				default:
					p.answer(c.id, wire.Error{Text: "it is not open", Code: wire.NotFound})
				}
				if n > 0 {
					p.hold()
				}
			})))
			if err := f(c.Secrets()); err != nil {
				t.Error(err)
			}
		})
	}
}

// code is of OAuth.
var code = secret.New([]byte("code"))

const (
	secretEvent = `{"request_id":"r","request":{"url":"https://stripe.com","type":"git","participant_id":"p","timeout":300,"delegate_to":"d"},"requester":{"id":"q","name":"agent"}}`
	oauthEvent  = `{"request_id":"r","challenge":"E9","request":{"connector":{"openai_connector_id":"o","server_url":null,"client_secret_id":null},` +
		`"oauth":{"client_id":"c","client_secret":null,"authorization_endpoint":"https://a","token_endpoint":"https://t","no_pkce":null,"scopes":["repo"]},` +
		`"redirect_uri":"https://r","participant_id":"p","timeout":300,"delegate_to":null}}`
)

// A handler gets a request and answers on the same connection.
func TestHandlers(t *testing.T) {
	answered, done := make(chan string, 2), make(chan struct{})
	config := listen(t, scripted(t, func(p *peer, _ int) {
		p.ready()
		p.event("secrets.request_secret", json.RawMessage(`{"request_id":7}`), "")
		p.event("secrets.request_secret", json.RawMessage(secretEvent), "")
		p.event("secrets.request_oauth_token", json.RawMessage(`{"request_id":"r","challenge":null,"request":{"oauth":null}}`), "")
		p.event("secrets.request_oauth_token", json.RawMessage(oauthEvent), "")
		p.serve(func(c call) wire.Content {
			switch a := c.arguments.(type) {
			case wire.Binary:
				answered <- string(a.Headers) + string(a.Data.Reveal())
			case wire.JSON:
				answered <- string(a.Object)
			}
			return wire.Empty{}
		})
	}))
	config.OnSecretRequested = func(ctx context.Context, c *room.Client, e room.SecretRequested) {
		want := room.SecretRequested{
			ID:            "r",
			Request:       room.SecretRequest{ParticipantID: "p", URL: "https://stripe.com", Type: "git", DelegateTo: "d", Timeout: 300 * time.Second},
			RequesterID:   "q",
			RequesterName: "agent",
		}
		if !reflect.DeepEqual(e, want) {
			t.Errorf("got %+v", e)
		}
		if err := c.Secrets().Provide(ctx, e.ID, secret.New([]byte("v"))); err != nil {
			t.Error(err)
		}
	}
	config.OnOAuthRequested = func(ctx context.Context, c *room.Client, e room.OAuthRequested) {
		if e.Request.OAuth.ClientSecret.Len() != 0 {
			t.Error("got a secret from nowhere")
		}
		e.Request.OAuth.ClientSecret = secret.Value{}
		want := room.OAuthRequested{ID: "r", Challenge: "E9", Request: room.OAuthRequest{
			ParticipantID: "p",
			Connector:     &room.Connector{OpenAIConnectorID: "o"},
			OAuth:         &room.OAuth{ClientID: "c", AuthorizationEndpoint: "https://a", TokenEndpoint: "https://t", Scopes: []string{"repo"}},
			RedirectURI:   "https://r",
			Timeout:       300 * time.Second,
		}}
		if !reflect.DeepEqual(e, want) {
			t.Errorf("got %+v", e)
		}
		if err := c.Secrets().RejectAuthorization(ctx, e.ID, "no"); err != nil {
			t.Error(err)
		}
		close(done)
	}
	dial(t, config)
	for _, want := range []string{`{"request_id":"r","error":null}v`, `{"request_id":"r","code":null,"error":"no"}`} {
		if got := <-answered; got != want {
			t.Errorf("answered %s, want %s", got, want)
		}
	}
	<-done
}

// What a requester says of time is bounded.
func TestHandlerTimeout(t *testing.T) {
	for timeout, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0": 300 * time.Second, "-1": 300 * time.Second, "null": 300 * time.Second,
		"9223372036854775807": 365 * 24 * time.Hour,
	} {
		config := listen(t, scripted(t, func(p *peer, _ int) {
			p.ready()
			p.event("secrets.request_secret", json.RawMessage(`{"request_id":"r","request":{"timeout":`+timeout+`}}`), "")
			p.hold()
		}))
		got := make(chan time.Duration)
		config.OnSecretRequested = func(_ context.Context, _ *room.Client, e room.SecretRequested) { got <- e.Request.Timeout }
		dial(t, config)
		if d := <-got; d != want {
			t.Errorf("%s is %v, want %v", timeout, d, want)
		}
	}
}

// A request that nobody handles is rejected, so that the requester does not
// wait. A handler of one's own takes the place of that.
func TestNoHandler(t *testing.T) {
	const rejection = `"error":"no handler registered"}`
	answered := make(chan string, 2)
	play := scripted(t, func(p *peer, _ int) {
		p.ready()
		p.event("secrets.request_secret", json.RawMessage(secretEvent), "")
		p.event("secrets.request_oauth_token", json.RawMessage(oauthEvent), "")
		p.serve(func(c call) wire.Content {
			answered <- c.Tool
			var headers json.RawMessage
			switch a := c.arguments.(type) {
			case wire.Binary:
				headers = a.Headers
			case wire.JSON:
				headers = a.Object
			}
			if !strings.HasSuffix(string(headers), rejection) {
				t.Errorf("%s answered %s", c.Tool, headers)
			}
			return wire.Error{Text: "it is not open", Code: wire.NotFound} // changes nothing
		})
	})
	dial(t, listen(t, play))
	for _, want := range []string{wire.ProvideSecret, wire.ProvideOAuthAuthorization} {
		if tool := <-answered; tool != want {
			t.Errorf("answered with %s, want %s", tool, want)
		}
	}

	config := listen(t, play)
	handled := make(chan string)
	config.OnSecretRequested = func(_ context.Context, _ *room.Client, e room.SecretRequested) { handled <- e.ID }
	dial(t, config)
	if id := <-handled; id != "r" {
		t.Errorf("got %s", id)
	}
	if tool := <-answered; tool != wire.ProvideOAuthAuthorization {
		t.Errorf("answered with %s", tool)
	}
}
