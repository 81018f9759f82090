package wire_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// sameJSON compares shapes that hold secrets, which reflect.DeepEqual cannot.
func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	x, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(x) == string(y)
}

func text(s string) wire.Secret { return wire.Secret{Value: secret.New([]byte(s))} }

// The shapes of sections 6, 6.1 and 9, with every key that an official peer
// wants, and back.
func TestRequestShapes(t *testing.T) {
	var (
		none  *string
		no    = "no"
		empty = ""
		yes   = true
		five  = 300
		oauth = wire.OAuth{
			ClientID: "c", ClientSecret: text("s"), AuthorizationEndpoint: "https://a", TokenEndpoint: "https://t",
			NoPKCE: &yes, Scopes: []string{"read", "write"},
		}
	)
	const oauthJSON = `{"client_id":"c","client_secret":"s","authorization_endpoint":"https://a","token_endpoint":"https://t","no_pkce":true,"scopes":["read","write"]}`
	for want, v := range map[string]any{
		`{"url":"u","type":"t","delegated_to":null}`: wire.DeleteRequestedArguments{URL: "u", Type: "t"},
		`{"url":"u","type":"t","participant_id":"p","timeout":300,"delegate_to":null}`: wire.RequestSecretArguments{
			URL: "u", Type: "t", ParticipantID: "p", Timeout: &five,
		},
		`{"request_id":"r","request":{"url":"u","type":"t","participant_id":"p","timeout":300,"delegate_to":"d"}}`: wire.SecretRequest{
			RequestID: "r", Request: wire.RequestSecretArguments{URL: "u", Type: "t", ParticipantID: "p", Timeout: &five, DelegateTo: "d"},
		},
		`{"request_id":"r","request":{"url":null,"type":null,"participant_id":null,"timeout":null,"delegate_to":null},"requester":{"id":"q","name":"agent"}}`: wire.SecretRequest{
			RequestID: "r", Requester: wire.Requester{ID: "q", Name: "agent"},
		},
		`{"request_id":"r","error":null}`: wire.ProvideHeaders{RequestID: "r", Error: none},
		`{"request_id":"r","error":"no"}`: wire.ProvideHeaders{RequestID: "r", Error: &no},
		`{"request_id":"r","error":""}`:   wire.ProvideHeaders{RequestID: "r", Error: &empty},

		`{"openai_connector_id":null,"server_url":"u","client_secret_id":null}`:                                                    wire.Connector{ServerURL: "u"},
		`{"client_id":null,"client_secret":null,"authorization_endpoint":null,"token_endpoint":null,"no_pkce":null,"scopes":null}`: wire.OAuth{},
		oauthJSON: oauth,
		`{"connector":null,"oauth":` + oauthJSON + `,"redirect_uri":"https://r","participant_id":"p","timeout":300,"delegate_to":null}`: wire.RequestOAuthTokenArguments{
			OAuth: &oauth, RedirectURI: "https://r", ParticipantID: "p", Timeout: &five,
		},
		`{"request_id":"r","challenge":null,"request":{"connector":null,"oauth":` + oauthJSON +
			`,"redirect_uri":"https://r","participant_id":"p","timeout":300,"delegate_to":"d"}}`: wire.OAuthRequest{
			RequestID: "r", Request: wire.RequestOAuthTokenArguments{OAuth: &oauth, RedirectURI: "https://r", ParticipantID: "p", Timeout: &five, DelegateTo: "d"},
		},
		`{"request_id":"r","challenge":"E9","request":{"connector":{"openai_connector_id":"o","server_url":null,"client_secret_id":"i"},"oauth":null,` +
			`"redirect_uri":null,"participant_id":null,"timeout":null,"delegate_to":null},"requester":{"id":"q","name":"agent"}}`: wire.OAuthRequest{
			RequestID: "r", Challenge: "E9",
			Request:   wire.RequestOAuthTokenArguments{Connector: &wire.Connector{OpenAIConnectorID: "o", ClientSecretID: "i"}},
			Requester: wire.Requester{ID: "q", Name: "agent"},
		},
		`{"request_id":"r","code":"c","error":null}`:                                          wire.ProvideAuthorizationArguments{RequestID: "r", Code: text("c")},
		`{"request_id":"r","code":null,"error":"no"}`:                                         wire.ProvideAuthorizationArguments{RequestID: "r", Error: &no},
		`{"connector":null,"oauth":null,"delegated_to":null,"delegated_by":"alice"}`:          wire.OfflineOAuthTokenArguments{DelegatedBy: "alice"},
		`{"connector":null,"oauth":` + oauthJSON + `,"delegated_to":"d","delegated_by":null}`: wire.OfflineOAuthTokenArguments{OAuth: &oauth, DelegatedTo: "d"},
		`{"access_token":"t"}`:  wire.AccessToken{AccessToken: text("t")},
		`{"access_token":null}`: wire.AccessToken{},

		`{"to_participant_id":"p","type":"t","message_json":"{}","attachment_base64":null}`: wire.SendArguments{
			ToParticipantID: "p", BroadcastArguments: wire.BroadcastArguments{Type: "t", MessageJSON: "{}"},
		},
		`{"type":"t","message_json":"{\"a\":1}","attachment_base64":"AP8="}`: wire.BroadcastArguments{Type: "t", MessageJSON: `{"a":1}`, Attachment: []byte("\x00\xff")},
		`{"from_participant_id":"p","type":"t","message":{"a":1}}`:           wire.ReceivedMessage{FromParticipantID: "p", Type: "t", Message: json.RawMessage(`{"a":1}`)},
		`{"participants":[]}`: wire.Participants{},
		`{"participants":[{"id":"p","role":"user","attributes":{"name":"alice"}}]}`: wire.Participants{Participants: []wire.Participant{
			{ID: "p", Role: "user", Attributes: wire.Attributes{"name": "alice"}},
		}},
		`{"id":"p","role":"","attributes":{}}`: wire.Participant{ID: "p"},
		`{"id":"p"}`:                           wire.ParticipantID{ID: "p"},
		`{"attributes":{"name":"bob"}}`:        wire.ChangedAttributes{Attributes: wire.Attributes{"name": "bob"}},
	} {
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%T is\n%s, %v; want\n%s", v, got, err, want)
		}
		back := reflect.New(reflect.TypeOf(v))
		if err := json.Unmarshal([]byte(want), back.Interface()); err != nil || !sameJSON(t, back.Interface(), v) {
			t.Errorf("%s came back as %+v, %v", want, back.Elem(), err)
		}
	}
}

// Absent is null, and keys that are not ours are let pass.
func TestRequestShapesAreTolerant(t *testing.T) {
	var request wire.OAuthRequest
	const in = `{"request_id":"r","new":1,"request":{"oauth":{"client_id":"c","new":1},"connector":{}}}`
	if err := json.Unmarshal([]byte(in), &request); err != nil || request.Challenge != "" || request.Requester != (wire.Requester{}) ||
		request.Request.Timeout != nil || request.Request.OAuth.ClientID != "c" || request.Request.OAuth.NoPKCE != nil || request.Request.Connector == nil {
		t.Errorf("got %+v, %v", request, err)
	}
	for _, in := range []string{`{"access_token":null}`, `{"access_token":""}`, `{}`} {
		var token wire.AccessToken
		if err := json.Unmarshal([]byte(in), &token); err != nil || token.AccessToken.Len() != 0 {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// What is secret on the wire does not print, and errors do not repeat it.
func TestSecretStrings(t *testing.T) {
	s := text("canary")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, struct{ s *wire.Secret }{&s}) + fmt.Sprintf(verb, s); strings.Contains(got, "canary") || strings.Contains(got, "63616e617279") {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if b, err := json.Marshal(text("canary\xff")); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("a secret that is not UTF-8 became %q, %v", b, err)
	}
	for _, in := range []string{`["canary"]`, `{"canary":1}`, `7777`} {
		var token wire.AccessToken
		if err := json.Unmarshal([]byte(`{"access_token":`+in+`}`), &token); err == nil || strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "7777") {
			t.Errorf("%s: %v", in, err)
		}
	}
}
