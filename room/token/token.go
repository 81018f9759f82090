// Package token signs and verifies participant tokens, with the grants in them, and
// reads API keys. Section numbers in this package are those of docs/room-api.md.
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

// maxToken bounds a token, in bytes: it is sent in an HTTP header.
const maxToken = 16 << 10

// ErrMalformed means that a token, a scope or an API key has an invalid format. Errors
// of this package do not quote their input.
var ErrMalformed = errors.New("malformed")

// Other errors of a token.
var (
	errSignature   = errors.New("signed with an unknown key")
	errExpired     = errors.New("expired")
	errNotYetValid = errors.New("not valid yet")
)

// Roles of a participant.
const (
	User  = "user"
	Agent = "agent"
	Tool  = "tool"
)

// A Token has the identity and the grants of a participant (section 8.1).
type Token struct {
	Name string // the identity; never empty
	Room string // the room that may be joined; without it, no room may be
	Role string // [User], [Agent] or [Tool]; "" is [User]
	API  *Scope // permitted operations; nil permits none

	ProjectID string // claim sub
	KeyID     string // claim kid, of the API key that signs; may be ""
	Version   string // claim version, of an SDK; has no effect
	ID        string // claim jti, by which a room can revoke the token; may be ""

	// Expires is exact to the second. It is zero in a token that never expires, which
	// [Token.Sign] refuses.
	Expires time.Time
}

// claims is the payload. Registered claims are checked according to RFC 7519, and
// unknown ones ignored.
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

// Sign returns t as a JWT, signed with HS256. It fails if [Verify] would, and without
// Expires.
func (t Token) Sign(key secret.Value) (secret.Value, error) {
	switch {
	case key.Len() == 0:
		return secret.Value{}, errors.New("sign token: empty key")
	case t.Name == "":
		return secret.Value{}, errors.New("sign token: missing name")
	case !utf8.ValidString(t.Name), !utf8.ValidString(t.Room), !utf8.ValidString(t.ID):
		// JSON would replace the invalid bytes, which changes the name.
		return secret.Value{}, errors.New("sign token: name, room or ID is not UTF-8")
	case t.Expires.IsZero():
		return secret.Value{}, errors.New("sign token: missing expiry")
	}
	c := claims{
		Name: t.Name,
		RegisteredClaims: jwt.RegisteredClaims{
			ID:        t.ID,
			Subject:   t.ProjectID,
			ExpiresAt: jwt.NewNumericDate(t.Expires),
		},
		KeyID:   t.KeyID,
		Version: t.Version,
	}
	var err error
	if c.Grants, err = t.grants(); err != nil {
		return secret.Value{}, fmt.Errorf("sign token: %w", err)
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(key.Reveal())
	if err != nil {
		return secret.Value{}, fmt.Errorf("sign token: %w", err)
	}
	if len(signed) > maxToken {
		return secret.Value{}, fmt.Errorf("sign token: longer than %d bytes", maxToken)
	}
	return secret.New([]byte(signed)), nil
}

// grants returns the claim grants. It has no role of a user, as in the SDKs.
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

// Verify returns the token in a JWT, after it has checked the signature, which has to
// be HS256, and that now is before its expiry. The function key returns the key for a
// kid claim, which may be "".
func Verify(token secret.Value, key func(keyID string) (secret.Value, bool), now time.Time) (Token, error) {
	t, err := verify(token, key, now)
	if err != nil {
		return Token{}, fmt.Errorf("invalid token: %w", err)
	}
	return t, nil
}

func verify(token secret.Value, key func(string) (secret.Value, bool), now time.Time) (Token, error) {
	if token.Len() > maxToken {
		return Token{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxToken)
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

// kind drops the text of the library, which can quote the token.
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

// token reads the grants: the first room grant, the first api grant and the first role
// grant other than user apply.
func (c claims) token() (Token, error) {
	if c.Name == "" {
		return Token{}, fmt.Errorf("%w: missing name", ErrMalformed)
	}
	t := Token{Name: c.Name, ProjectID: c.Subject, KeyID: c.KeyID, Version: c.Version, ID: c.ID}
	if c.ExpiresAt != nil {
		t.Expires = c.ExpiresAt.Time
		if t.Expires.Year() > 9999 {
			return Token{}, fmt.Errorf("%w: expiry after the year 9999", ErrMalformed) // beyond RFC 3339
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
			return Token{}, fmt.Errorf("%w: invalid scope of the grant %s", ErrMalformed, g.Name)
		}
	}
	if t.Role == "" {
		t.Role = User
	}
	return t, nil
}
