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

// expiryMargin is how long before its expiry a token counts as expired, since it still
// has to be sent and used. A token is valid for a third of its lifetime in any case: a
// client that gets it after each change would refresh it in a loop otherwise.
const expiryMargin = time.Minute

// A credential is a stored authorization (section 7.6).
type credential struct {
	AccessToken  wire.Secret `json:"access_token"`
	RefreshToken wire.Secret `json:"refresh_token"`
	Expiration   time.Time   `json:"expiration,omitzero"` // zero: does not expire
	Scopes       []string    `json:"scopes"`              // as requested

	// OAuth is the client that the tokens were granted to. The refresh token is sent
	// for this client only, whatever a caller names. The owner cannot read it, since
	// the client secret is that of the requester.
	OAuth *wire.OAuth `json:"oauth,omitempty"`

	// Lifetime is that of the access token when it was granted, in seconds, or 0 if
	// unknown. The owner cannot read it either: the other fields are those of section
	// 7.6.
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

// update sets the tokens of c.
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
		return secret.Value{}, providerError(errors.New("the tokens of the provider are not UTF-8")) // err may quote them
	}
	return secret.New(b), nil
}

// shownCredential returns what the owner of a credential may read.
func shownCredential(value secret.Value) (secret.Value, error) {
	var c credential
	if json.Unmarshal(value.Reveal(), &c) != nil {
		return value, nil // not a credential: the owner set it
	}
	c.OAuth, c.Lifetime = nil, 0
	return c.encode()
}

// credentialID returns the id of a credential: a hash of the client as requests name
// it, without scopes.
func credentialID(connector *wire.Connector, o *wire.OAuth) string {
	c, client := deref(connector), deref(o)
	return "oauth-" + fingerprint(c.OpenAIConnectorID, c.ServerURL, c.ClientSecretID,
		string(client.AuthorizationEndpoint), string(client.TokenEndpoint), string(client.ClientID))
}

// credentialName returns the name of a credential, for people.
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

// load returns the credential called a. The error wraps [ErrNotFound].
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

// permit fails before a code is sent for tokens that are beyond quota in any case.
func (s authorizations) permit(quota int64, key RecordKey, client wire.OAuth) error {
	least, err := credential{Scopes: client.Scopes, OAuth: &client}.encode()
	if err != nil {
		return err
	}
	return s.store.permit(quota, key, least.Len())
}

// save stores a credential that was granted to client. A refresh replaces it whatever the
// quota: the refresh token would be lost otherwise.
func (s authorizations) save(quota int64, key RecordKey, name string, client wire.OAuth, t oauthprovider.Token) (credential, error) {
	c := credential{Scopes: client.Scopes, OAuth: &client}
	c.update(t)
	value, err := c.encode()
	if err != nil {
		return c, err
	}
	return c, s.store.setWithin(quota, key, credentialType, name, value)
}

// fresh returns the credential called key if it is granted to client with its scopes,
// refreshed if it has expired. The error is [ErrNotFound] if the approver has to be
// asked.
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
	// The refresh outlives its callers: once the provider has replaced the refresh
	// token, its response must be stored. Only the leader refreshes, so that there is
	// one refresh at a time in all processes.
	ctx = context.WithoutCancel(ctx)
	v, err, _ := s.inFlight.Do(fingerprint(key), func() (any, error) { return s.refresh(ctx, key, client) })
	c, _ = v.(credential)
	if err == nil && !c.grants(client) {
		err = ErrNotFound // replaced meanwhile
	}
	return c, err
}

// refresh returns the credential called key, refreshed unless that has just happened.
// The new refresh token is on disk when it returns.
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
		// The refresh token must not be used up if the next one cannot be stored.
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
			return c, providerError(fmt.Errorf("refresh token: %w", err))
		}
		c.update(t)
		c.OAuth.ClientSecret, c.OAuth.NoPKCE = client.ClientSecret, client.NoPKCE // which may have changed
		value, err := c.encode()
		if err != nil {
			return c, err
		}
		// If the owner wrote or deleted it meanwhile, that stays.
		if c.info, err = s.store.replace(c.info, value); !errors.Is(err, errChanged) {
			return c, err
		}
	}
}

// providerError returns an error about a provider that is sent to callers.
func providerError(err error) error {
	return refuse(wire.OperationFailed, "%v", err)
}
