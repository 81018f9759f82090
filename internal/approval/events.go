package approval

import (
	"cmp"
	"context"
	"time"

	"github.com/roomenv/roomenv/room"
)

// refuseTimeout bounds the rejection of a request that is refused, which delays the next.
const refuseTimeout = 10 * time.Second

// OnSecretRequested adds a request. It is for the field with this name in [room.Config].
func (i *Inbox) OnSecretRequested(ctx context.Context, c *room.Client, e room.SecretRequested) {
	i.take(ctx, c, e.Request.Timeout, e.RequesterName, e.Request.DelegateTo, Request{
		ID:   e.ID,
		Kind: Secret,
		URL:  e.Request.URL,
		Type: e.Request.Type,
	})
}

// OnOAuthRequested is the same for authorizations.
func (i *Inbox) OnOAuthRequested(ctx context.Context, c *room.Client, e room.OAuthRequested) {
	i.take(ctx, c, e.Request.Timeout, e.RequesterName, e.Request.DelegateTo, Request{
		ID:                    e.ID,
		Kind:                  OAuth,
		AuthorizationEndpoint: e.Request.OAuth.AuthorizationEndpoint,
		TokenEndpoint:         e.Request.OAuth.TokenEndpoint,
		ClientID:              e.Request.OAuth.ClientID,
		Scopes:                e.Request.OAuth.Scopes,
		RedirectURI:           e.Request.RedirectURI,
		Challenge:             e.Challenge,
		Issuer:                e.Issuer,
		IssuerRequired:        e.IssuerRequired,
	})
}

// take adds r, or rejects it with the reason.
func (i *Inbox) take(ctx context.Context, c *room.Client, timeout time.Duration, from, delegateTo string, r Request) {
	r.From = from
	r.StoredFor = cmp.Or(delegateTo, from) // section 7.4
	refused := i.Add(r, timeout, c.Secrets())
	if refused == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, refuseTimeout)
	defer cancel()
	// An error of the rejection matters to the requester only.
	if r.Kind == OAuth {
		_ = c.Secrets().RejectAuthorization(ctx, r.ID, refused.Error())
	} else {
		_ = c.Secrets().Reject(ctx, r.ID, refused.Error())
	}
}
