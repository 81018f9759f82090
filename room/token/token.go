// Package token is who may do what in a room: participant tokens, the grants
// in them, and the API keys that sign them. Section numbers in this package
// are those of docs/room-api.md.
package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/roomenv/roomenv/secret"
)

// maxToken is the longest token that is looked at, in bytes. Tokens travel in
// an HTTP header, and servers refuse headers that are longer.
const maxToken = 16 << 10

// ErrMalformed: a token, a scope or an API key is not of the form that it has to
// have. Errors hold no part of their input.
var ErrMalformed = errors.New("malformed")

// What else is wrong with a token.
var (
	errSignature   = errors.New("not signed with a key that is known here")
	errExpired     = errors.New("expired")
	errNotYetValid = errors.New("not valid yet")
)

// Roles of a participant.
const (
	User  = "user"
	Agent = "agent"
	Tool  = "tool"
)

// A Token says who a participant is and what it may do (section 8.1).
type Token struct {
	Name string // the identity; never empty
	Room string // the room that may be joined; "" is none
	Role string // [User], [Agent] or [Tool]; "" is [User]
	API  *Scope // nil grants nothing

	ProjectID string // claim sub
	KeyID     string // claim kid, the API key that signs; "" is the default secret
	Version   string // of the SDK whose defaults apply; "" is the current one

	// Expires is exact to the second. A token of others may lack it; it is
	// zero then, and the token never expires.
	Expires time.Time
}

// claims is the payload. Registered claims are checked as RFC 7519 says; what
// is not named here is passed over.
type claims struct {
	Name   string  `json:"name"`
	Grants []grant `json:"grants"`
	jwt.RegisteredClaims
	KeyID   string `json:"kid,omitempty"`
	Version string `json:"version,omitempty"`
}

type grant struct {
	Name  string          `json:"name"`
	Scope json.RawMessage `json:"scope"`
}

// Sign returns t as a JWT, signed with HS256. It refuses what [Verify] would
// refuse, and a token that never expires.
func (t Token) Sign(key secret.Value) (secret.Value, error) {
	switch {
	case key.Len() == 0:
		return secret.Value{}, errors.New("cannot sign a token: the key is empty")
	case t.Name == "":
		return secret.Value{}, errors.New("cannot sign a token: it names nobody")
	case !utf8.ValidString(t.Name), !utf8.ValidString(t.Room):
		// JSON would replace the bytes at fault and so name somebody else.
		return secret.Value{}, errors.New("cannot sign a token: a name in it is not UTF-8")
	case t.Expires.IsZero():
		return secret.Value{}, errors.New("cannot sign a token: it has no expiry")
	}
	c := claims{
		Name: t.Name,
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   t.ProjectID,
			ExpiresAt: jwt.NewNumericDate(t.Expires),
		},
		KeyID:   t.KeyID,
		Version: t.Version,
	}
	var err error
	if c.Grants, err = t.grants(); err != nil {
		return secret.Value{}, fmt.Errorf("cannot sign a token: %w", err)
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(key.Reveal())
	if err != nil {
		return secret.Value{}, fmt.Errorf("cannot sign a token: %w", err)
	}
	if len(signed) > maxToken {
		return secret.Value{}, fmt.Errorf("cannot sign a token: it is longer than %d bytes", maxToken)
	}
	return secret.New([]byte(signed)), nil
}

// grants writes no role grant for a user, as the SDKs do.
func (t Token) grants() ([]grant, error) {
	grants := []grant{}
	add := func(name string, scope any) error {
		b, err := json.Marshal(scope)
		grants = append(grants, grant{name, b})
		return err
	}
	var errs []error
	if t.Room != "" {
		errs = append(errs, add("room", t.Room))
	}
	if t.Role != "" && t.Role != User {
		errs = append(errs, add("role", t.Role))
	}
	if t.API != nil {
		errs = append(errs, add("api", t.API))
	}
	return grants, errors.Join(errs...)
}

// Verify returns what a JWT says after it has checked the signature, which is
// HS256 and nothing else, and that now is before its expiry. The key is asked
// for by the kid claim, which is "" in a token signed with a bare secret.
func Verify(token secret.Value, key func(keyID string) (secret.Value, bool), now time.Time) (Token, error) {
	t, err := verify(token, key, now)
	if err != nil {
		return Token{}, fmt.Errorf("cannot accept the token: %w", err)
	}
	return t, nil
}

func verify(token secret.Value, key func(string) (secret.Value, bool), now time.Time) (Token, error) {
	if token.Len() > maxToken {
		return Token{}, fmt.Errorf("%w: it is longer than %d bytes", ErrMalformed, maxToken)
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithTimeFunc(func() time.Time { return now }),
		jwt.WithStrictDecoding(),
	)
	var c claims
	_, err := parser.ParseWithClaims(string(token.Reveal()), &c, func(*jwt.Token) (any, error) {
		k, ok := key(c.KeyID)
		if !ok || k.Len() == 0 {
			return nil, errSignature
		}
		return k.Reveal(), nil
	})
	if err != nil {
		return Token{}, kind(err)
	}
	return c.token()
}

// kind drops the library's text, which can quote the token.
func kind(err error) error {
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return errSignature
	case errors.Is(err, jwt.ErrTokenExpired):
		return errExpired
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return errNotYetValid
	}
	return ErrMalformed
}

// token reads the grants: the first room and the first api grant count, and
// the first role grant that is not user.
func (c claims) token() (Token, error) {
	if c.Name == "" {
		return Token{}, fmt.Errorf("%w: it names nobody", ErrMalformed)
	}
	t := Token{Name: c.Name, ProjectID: c.Subject, KeyID: c.KeyID, Version: c.Version}
	if c.ExpiresAt != nil {
		t.Expires = c.ExpiresAt.Time
		if t.Expires.Year() > 9999 {
			return Token{}, fmt.Errorf("%w: its expiry is no date", ErrMalformed) // RFC 3339 ends there
		}
	}
	var haveRoom, haveAPI bool
	for _, g := range c.Grants {
		var err error
		switch {
		case g.Name == "room" && !haveRoom:
			haveRoom = true
			err = json.Unmarshal(g.Scope, &t.Room)
		case g.Name == "api" && !haveAPI:
			haveAPI = true
			err = json.Unmarshal(g.Scope, &t.API)
		case g.Name == "role" && (t.Role == "" || t.Role == User):
			err = json.Unmarshal(g.Scope, &t.Role)
		}
		if err != nil {
			return Token{}, fmt.Errorf("%w: its %s grant has a scope of a wrong type", ErrMalformed, g.Name)
		}
	}
	if t.Role == "" {
		t.Role = User
	}
	return t, nil
}
