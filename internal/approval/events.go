package approval

import (
	"cmp"
	"context"
	"time"

	"github.com/roomenv/roomenv/room"
)

// refuseTimeout bounds how long a request that is refused holds up the next.
const refuseTimeout = 10 * time.Second

// OnSecretRequested takes in what someone asks for. It is for the field of that
// name of [room.Config].
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
		ClientID:              e.Request.OAuth.ClientID,
		Scopes:                e.Request.OAuth.Scopes,
		RedirectURI:           e.Request.RedirectURI,
		Challenge:             e.Challenge,
	})
}

// take adds r, or tells who asks why not.
func (i *Inbox) take(ctx context.Context, c *room.Client, timeout time.Duration, from, delegateTo string, r Request) {
	r.From = from
	r.StoredFor = cmp.Or(delegateTo, from) // section 7.4
	refused := i.Add(r, timeout, c.Secrets())
	if refused == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, refuseTimeout)
	defer cancel()
	// What comes of it is the asker's: there is nobody here to tell.
	if r.Kind == OAuth {
		_ = c.Secrets().RejectAuthorization(ctx, r.ID, refused.Error())
	} else {
		_ = c.Secrets().Reject(ctx, r.ID, refused.Error())
	}
}
