package token_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

const (
	keyID     = "fbefbeff-0000-4000-8000-0000000000fe"
	projectID = "11111111-2222-4333-8444-555555555555"
	key       = "s3-cr3t_key"

	// vector was made by hand from docs/room-api.md section 8 and accepted by
	// the TypeScript SDK.
	vector = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJuYW1lIjoiYWxpY2UiLCJncmFudHMiOlt7Im5hbWUiOiJyb29tIiwic2NvcGUiOiJkZW1vIn0seyJuYW1lIjoicm9sZSIsInNjb3BlIjoiYWdlbnQifSx7Im5hbWUiOiJhcGkiLCJzY29wZSI6eyJzZWNyZXRzIjp7fSwibWVzc2FnaW5nIjp7fX19XSwic3ViIjoiMTExMTExMTEtMjIyMi00MzMzLTg0NDQtNTU1NTU1NTU1NTU1Iiwia2lkIjoiZmJlZmJlZmYtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMGZlIiwidmVyc2lvbiI6IjAuMzkuOSJ9.BYt216ZYQg_n-9WHItCWwvWHJJT3gtl5ZJuK57pKRtw"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func value(s string) secret.Value { return secret.New([]byte(s)) }

// keys holds one key by its id and another as the default secret.
func keys(id string) (secret.Value, bool) {
	switch id {
	case keyID:
		return value(key), true
	case "":
		return value("default"), true
	case "empty":
		return secret.Value{}, true
	}
	return secret.Value{}, false
}

// sign makes a token of any payload, good or bad.
func sign(t *testing.T, payload, key string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(payload))
	sig, err := jwt.SigningMethodHS256.Sign(text, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestVerifyVector(t *testing.T) {
	got, err := token.Verify(value(vector), keys, now)
	if err != nil {
		t.Fatal(err)
	}
	want := token.Token{
		Name: "alice", Room: "demo", Role: token.Agent,
		API: &token.Scope{
			Secrets: &token.SecretsScope{}, Messaging: &token.MessagingScope{}, Other: map[string]json.RawMessage{},
		},
		ProjectID: projectID, KeyID: keyID, Version: "0.39.9",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSignMatchesVector(t *testing.T) {
	tok := token.Token{
		Name: "alice", Room: "demo", Role: token.Agent,
		API:       &token.Scope{Secrets: &token.SecretsScope{}, Messaging: &token.MessagingScope{}},
		ProjectID: projectID, KeyID: keyID, Version: "0.39.9", Expires: now.Add(time.Hour),
	}
	signed, err := tok.Sign(value(key))
	if err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(string(signed.Reveal()), "."), strings.Split(vector, ".")
	if got[0] != want[0] {
		t.Errorf("header %s, want %s", got[0], want[0])
	}
	gotPayload, wantPayload := payload(t, got[1]), payload(t, want[1])
	wantPayload["exp"] = float64(tok.Expires.Unix())
	if !reflect.DeepEqual(gotPayload, wantPayload) {
		t.Errorf("payload %v, want %v", gotPayload, wantPayload)
	}
}

func payload(t *testing.T, segment string) (p map[string]any) {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSignVerify(t *testing.T) {
	for _, want := range []token.Token{
		{Name: "bob", Expires: now.Add(time.Second)},
		{Name: "bob", Room: "r", Role: token.User, Expires: now.Add(time.Hour)},
		{Name: "bot <&> é", Room: "r", Role: token.Tool, API: token.AgentScope(), KeyID: keyID, Expires: now.Add(time.Hour)},
		{Name: "bot", Room: "r", API: &token.Scope{
			Secrets: &token.SecretsScope{RequestOAuthToken: []token.OAuthClient{}},
			Admin:   true,
			Other:   map[string]json.RawMessage{"queues": json.RawMessage(`{"list":false}`)},
		}, Expires: now.Add(time.Hour)},
	} {
		k, _ := keys(want.KeyID)
		signed, err := want.Sign(k)
		if err != nil {
			t.Fatal(err)
		}
		got, err := token.Verify(signed, keys, now)
		if err != nil {
			t.Fatal(err)
		}
		if want.Role == "" {
			want.Role = token.User
		}
		if !got.Expires.Equal(want.Expires) {
			t.Errorf("expires %v, want %v", got.Expires, want.Expires)
		}
		got.Expires = want.Expires
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if _, err := token.Verify(signed, keys, want.Expires); !errors.Is(err, token.ErrExpired) {
			t.Errorf("at the moment of expiry: %v", err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	good := token.Token{Name: "alice", Expires: now}
	for name, sign := range map[string]func(token.Token) (secret.Value, error){
		"no expiry": func(t token.Token) (secret.Value, error) { t.Expires = time.Time{}; return t.Sign(value(key)) },
		"no name":   func(t token.Token) (secret.Value, error) { t.Name = ""; return t.Sign(value(key)) },
		"no key":    func(t token.Token) (secret.Value, error) { return t.Sign(secret.Value{}) },
		"bad name":  func(t token.Token) (secret.Value, error) { t.Name = "a\xff"; return t.Sign(value(key)) },
		"bad room":  func(t token.Token) (secret.Value, error) { t.Room = "a\xff"; return t.Sign(value(key)) },
		"bad grant": func(t token.Token) (secret.Value, error) { t.API = badScope; return t.Sign(value(key)) },
		"much to say": func(t token.Token) (secret.Value, error) {
			t.Room = strings.Repeat("r", token.MaxToken)
			return t.Sign(value(key))
		},
	} {
		if signed, err := sign(good); err == nil || signed.Len() > 0 {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := good.Sign(value(key)); err != nil {
		t.Error(err)
	}
}

var badScope = &token.Scope{Other: map[string]json.RawMessage{"queues": json.RawMessage("{")}}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" // of base64url

func TestVerifyRefuses(t *testing.T) {
	unsigned := func(header, payload string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." +
			base64.RawURLEncoding.EncodeToString([]byte(payload)) + "."
	}
	const alice = `{"name":"alice","grants":[]}`
	hs512, err := jwt.NewWithClaims(jwt.SigningMethodHS512, jwt.MapClaims{"name": "alice"}).SignedString([]byte("default"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(vector, ".")
	// The last character of a signature has two bits that are not part of it.
	last := strings.IndexByte(alphabet, vector[len(vector)-1])
	spareBits := vector[:len(vector)-1] + alphabet[last^1:last^1+1]
	for _, test := range []struct {
		name, token string
		want        error
	}{
		{"empty", "", token.ErrMalformed},
		{"one part", "a", token.ErrMalformed},
		{"four parts", vector + ".a", token.ErrMalformed},
		{"too long", strings.Repeat("a", token.MaxToken+1), token.ErrMalformed},
		{"too long, and signed", sign(t, `{"name":"a","other":"`+strings.Repeat("a", token.MaxToken)+`"}`, "default"), token.ErrMalformed},
		{"spare bits", spareBits, token.ErrMalformed},
		{"not base64", "!." + parts[1] + "." + parts[2], token.ErrMalformed},
		{"not JSON", sign(t, `{`, "default"), token.ErrMalformed},
		{"no object", sign(t, `[]`, "default"), token.ErrMalformed},
		{"deep", sign(t, strings.Repeat("[", 9000), "default"), token.ErrMalformed},
		{"no name", sign(t, `{"grants":[]}`, "default"), token.ErrMalformed},
		{"empty name", sign(t, `{"name":"","grants":[]}`, "default"), token.ErrMalformed},
		{"name of a wrong type", sign(t, `{"name":1}`, "default"), token.ErrMalformed},
		{"room of a wrong type", sign(t, `{"name":"a","grants":[{"name":"room","scope":{}}]}`, "default"), token.ErrMalformed},
		{"room without scope", sign(t, `{"name":"a","grants":[{"name":"room"}]}`, "default"), token.ErrMalformed},
		{"role of a wrong type", sign(t, `{"name":"a","grants":[{"name":"role","scope":1}]}`, "default"), token.ErrMalformed},
		{"api of a wrong type", sign(t, `{"name":"a","grants":[{"name":"api","scope":[]}]}`, "default"), token.ErrMalformed},
		{"secrets of a wrong type", sign(t, `{"name":"a","grants":[{"name":"api","scope":{"secrets":1}}]}`, "default"), token.ErrMalformed},
		{"exp of a wrong type", sign(t, `{"name":"a","exp":{}}`, "default"), token.ErrMalformed},
		{"alg none", unsigned(`{"alg":"none"}`, alice), token.ErrSignature},
		{"alg None", unsigned(`{"alg":"None"}`, alice), token.ErrSignature},
		{"no alg", unsigned(`{}`, alice), token.ErrSignature},
		{"HS512", hs512, token.ErrSignature},
		{"no signature", parts[0] + "." + parts[1] + ".", token.ErrSignature},
		{"another payload", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(alice)) + "." + parts[2], token.ErrSignature},
		{"another key", sign(t, alice, "other"), token.ErrSignature},
		{"unknown key id", sign(t, `{"name":"a","kid":"x"}`, key), token.ErrSignature},
		{"default secret under a key id", sign(t, `{"name":"a","kid":"`+keyID+`"}`, "default"), token.ErrSignature},
		{"empty key", sign(t, `{"name":"a","kid":"empty"}`, ""), token.ErrSignature},
		{"expired", sign(t, fmt.Sprintf(`{"name":"a","exp":%d}`, now.Unix()), "default"), token.ErrExpired},
		{"expired and forged", sign(t, fmt.Sprintf(`{"name":"a","exp":%d}`, now.Unix()), "other"), token.ErrSignature},
		{"early", sign(t, fmt.Sprintf(`{"name":"a","nbf":%d}`, now.Unix()+1), "default"), token.ErrNotYetValid},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := token.Verify(value(test.token), keys, now)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if !reflect.DeepEqual(got, token.Token{}) {
				t.Errorf("a refused token says %+v", got)
			}
		})
	}
}

func TestVerifyTolerates(t *testing.T) {
	for _, test := range []struct {
		payload string
		want    token.Token
	}{
		{`{"name":"a"}`, token.Token{Name: "a", Role: token.User}},
		{`{"name":"a","exp":null,"other":{"x":[1]},"grants":[{"name":"tunnel_ports","scope":[1]},{"name":"agent"},{}]}`,
			token.Token{Name: "a", Role: token.User}},
		{`{"name":"a","grants":[{"name":"role","scope":"user"},{"name":"role","scope":"tool"},{"name":"role","scope":"agent"}]}`,
			token.Token{Name: "a", Role: token.Tool}},
		{`{"name":"a","grants":[{"name":"room","scope":"one"},{"name":"room","scope":"two"}]}`,
			token.Token{Name: "a", Room: "one", Role: token.User}},
		{`{"name":"a","grants":[{"name":"api","scope":null},{"name":"api","scope":{"admin":{}}}]}`,
			token.Token{Name: "a", Role: token.User}},
	} {
		got, err := token.Verify(value(sign(t, test.payload, "default")), keys, now)
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, %v, want %+v", test.payload, got, err, test.want)
		}
	}
}

// TestErrorsKeepQuiet plants words in every part of a token and a key.
func TestErrorsKeepQuiet(t *testing.T) {
	const canary = "canary"
	var errs []error
	for _, s := range []string{
		canary, canary + "." + canary + "." + canary,
		sign(t, canary, "default"),
		sign(t, `{"name":"`+canary+`","kid":"`+canary+`"}`, canary),
		sign(t, `{"name":"a","grants":[{"name":"room","scope":{"`+canary+`":1}}]}`, "default"),
		sign(t, `{"name":"a","`+canary+`":1,"exp":"`+canary+`"}`, "default"),
		sign(t, `{"name":"a","aud":{"`+canary+`":1},"exp":1}`, "default"),
	} {
		_, err := token.Verify(value(s), keys, now)
		errs = append(errs, err)
	}
	for _, s := range []string{canary, "ma-" + canary, "ma-" + canary + "-" + canary + "-" + canary} {
		_, err := token.ParseAPIKey(value(s))
		errs = append(errs, err)
	}
	for _, err := range errs {
		if err == nil || strings.Contains(err.Error(), canary) || strings.Contains(fmt.Sprintf("%#v", err), canary) {
			t.Errorf("%v", err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add([]byte(vector))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := token.Verify(secret.New(b), keys, now)
		if err != nil {
			if !errors.Is(err, token.ErrMalformed) && !errors.Is(err, token.ErrSignature) &&
				!errors.Is(err, token.ErrExpired) && !errors.Is(err, token.ErrNotYetValid) {
				t.Errorf("untyped error %v", err)
			}
			return
		}
		if got.Name == "" || len(b) > token.MaxToken {
			t.Errorf("accepted %+v", got)
		}
	})
}

// FuzzVerifyPayload signs what the fuzzer makes up, which gets it past the
// signature. What is accepted says the same when it is signed again.
func FuzzVerifyPayload(f *testing.F) {
	f.Add(`{"name":"alice","grants":[{"name":"room","scope":"demo"},{"name":"api","scope":{"secrets":{}}}],"exp":1795435200}`)
	f.Fuzz(func(t *testing.T, payload string) {
		one := func(string) (secret.Value, bool) { return value(key), true }
		first, err := token.Verify(value(sign(t, payload, key)), one, now)
		if err != nil || first.Expires.IsZero() {
			return
		}
		signed, err := first.Sign(value(key))
		if err != nil {
			return // names that JSON escapes grow the token
		}
		second, err := token.Verify(signed, one, now)
		if err != nil {
			t.Fatal(err)
		}
		a, errA := json.Marshal(first)
		b, errB := json.Marshal(second)
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s became %s (%v, %v)", a, b, errA, errB)
		}
	})
}
