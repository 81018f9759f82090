package localroom

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/roomenv/roomenv/internal/oauthprovider"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// credentialType is the type of secrets that are OAuth credentials.
const credentialType = "application/vnd.meshagent.oauth+json"

// expiryMargin is how long before its end a token counts as expired: it still
// has to travel, and to be used. One that does not live for long is good for a
// third of its life all the same: a refresh is news, and who looks at the token
// for it would have it refreshed again, without end.
const expiryMargin = time.Minute

// A credential is what a person authorized (section 7.6), as it is stored.
type credential struct {
	AccessToken  wire.Secret `json:"access_token"`
	RefreshToken wire.Secret `json:"refresh_token"`
	Expiration   time.Time   `json:"expiration,omitzero"` // zero: none is known
	Scopes       []string    `json:"scopes"`              // that were asked for

	// OAuth is the client that the tokens were granted to. A refresh token goes
	// to nobody else, whatever a caller says. It is not shown to the owner: the
	// client's secret is another's.
	OAuth *wire.OAuth `json:"oauth,omitempty"`

	// Lifetime is what the access token began with, in seconds; 0 is not known.
	// The owner is not shown it either: the rest is the format of section 7.6.
	Lifetime int64 `json:"lifetime,omitempty"`

	info Info
}

func (c credential) valid(now time.Time) bool {
	margin := expiryMargin
	if c.Lifetime > 0 {
		margin = min(margin, time.Duration(c.Lifetime)*time.Second*2/3)
	}
	return c.Expiration.IsZero() || now.Add(margin).Before(c.Expiration)
}

// grants reports whether c is a credential of client, with all of its scopes.
func (c credential) grants(client wire.OAuth) bool {
	own := deref(c.OAuth)
	return own.ClientID == client.ClientID && own.AuthorizationEndpoint == client.AuthorizationEndpoint && own.TokenEndpoint == client.TokenEndpoint &&
		!slices.ContainsFunc(client.Scopes, func(s string) bool { return !slices.Contains(c.Scopes, s) })
}

// update puts t, which is what a provider granted, into c.
func (c *credential) update(t oauthprovider.Token) {
	c.AccessToken, c.RefreshToken = wire.Secret{Value: t.Access}, wire.Secret{Value: t.Refresh}
	if c.Expiration = t.Expires; !t.Expires.IsZero() {
		c.Expiration = t.Expires.UTC().Truncate(time.Second)
	}
	c.Lifetime = int64(t.Lifetime / time.Second)
}

func (c credential) encode() (secret.Value, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return secret.Value{}, providerError(errors.New("the provider's tokens are not UTF-8")) // err may quote them
	}
	return secret.New(b), nil
}

// shownCredential is what get_secret gives the owner of a credential.
func shownCredential(value secret.Value) (secret.Value, error) {
	var c credential
	if json.Unmarshal(value.Reveal(), &c) != nil {
		return value, nil // set by the owner, so the owner knows
	}
	c.OAuth, c.Lifetime = nil, 0
	return c.encode()
}

// credentialID is the id of a credential: the same for the same client,
// however it is named. Scopes do not count.
func credentialID(connector *wire.Connector, o *wire.OAuth) string {
	c, client := deref(connector), deref(o)
	return "oauth-" + fingerprint(c.OpenAIConnectorID, c.ServerURL, c.ClientSecretID,
		string(client.AuthorizationEndpoint), string(client.TokenEndpoint), string(client.ClientID))
}

// credentialName is for people.
func credentialName(connector *wire.Connector, client wire.OAuth) string {
	c := deref(connector)
	u, err := url.Parse(string(cmp.Or(c.ServerURL, client.AuthorizationEndpoint)))
	if err != nil {
		u = &url.URL{}
	}
	return cmp.Or(string(c.OpenAIConnectorID), u.Host)
}

func fingerprint(parts ...any) string {
	b, _ := json.Marshal(parts) // strings that came as JSON
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// load returns the credential at a. The error is [ErrNotFound] when there is
// none.
func (s authorizations) load(a RecordKey) (credential, error) {
	info, value, err := s.store.Get(a, credentialType, "")
	if err != nil {
		return credential{}, err
	}
	c := credential{info: info}
	if json.Unmarshal(value.Reveal(), &c) != nil || c.AccessToken.Len() == 0 {
		return credential{}, ErrNotFound
	}
	return c, nil
}

// save stores a credential that was granted to client.
func (s authorizations) save(key RecordKey, name string, client wire.OAuth, t oauthprovider.Token) (credential, error) {
	c := credential{Scopes: client.Scopes, OAuth: &client}
	c.update(t)
	value, err := c.encode()
	if err != nil {
		return c, err
	}
	return c, s.store.Set(key, credentialType, name, value)
}

// fresh returns the credential called key when it has the scopes and is granted to
// client, refreshed if it has expired. The error is [ErrNotFound] when a person
// has to be asked.
func (s authorizations) fresh(ctx context.Context, key RecordKey, client wire.OAuth) (credential, error) {
	c, err := s.load(key)
	switch {
	case err != nil:
		return c, err
	case !c.grants(client):
		return c, ErrNotFound
	case c.valid(s.now()):
		return c, nil
	}
	// A provider that replaces refresh tokens has done so when it answers: who
	// asked may go, the answer is waited for.
	//
	// One refresh at a time in here is one at a time at all: only one process
	// serves a store, the one that holds its lock.
	ctx = context.WithoutCancel(ctx)
	v, err, _ := s.inFlight.Do(fingerprint(key), func() (any, error) { return s.refresh(ctx, key, client) })
	c, _ = v.(credential)
	if err == nil && !c.grants(client) {
		err = ErrNotFound // it is another one by now
	}
	return c, err
}

// refresh returns the credential called key, refreshed unless somebody else was
// faster. The new refresh token is on disk when it returns.
func (s authorizations) refresh(ctx context.Context, key RecordKey, client wire.OAuth) (credential, error) {
	client.Scopes = nil // callers with others share the refresh
	for {
		c, err := s.load(key)
		switch {
		case err != nil || c.valid(s.now()):
			return c, err
		case c.RefreshToken.Len() == 0 || !c.grants(client):
			return c, ErrNotFound
		}
		// A store that takes no more must not cost the refresh token.
		if value, err := c.encode(); err != nil {
			return c, err
		} else if err := s.store.rewrite(c.info, value); errors.Is(err, errChanged) {
			continue
		} else if err != nil {
			return c, err
		}
		t, err := s.providers.Refresh(ctx, client, c.RefreshToken.Value)
		if refused, ok := errors.AsType[*oauthprovider.Error](err); ok && refused.Code == oauthprovider.InvalidGrant {
			if err := s.store.remove(c.info); !errors.Is(err, errChanged) {
				return c, cmp.Or(err, ErrNotFound)
			}
			continue
		}
		if err != nil {
			return c, providerError(fmt.Errorf("cannot refresh the token: %w", err))
		}
		c.update(t)
		c.OAuth.ClientSecret, c.OAuth.NoPKCE = client.ClientSecret, client.NoPKCE // which may have changed
		value, err := c.encode()
		if err != nil {
			return c, err
		}
		// Who wrote or deleted it meanwhile is right.
		if c.info, err = s.store.replace(c.info, value); !errors.Is(err, errChanged) {
			return c, err
		}
	}
}

// providerError is what peers are told about a provider.
func providerError(err error) error {
	return refuse(wire.OperationFailed, "%v", err)
}
