package approval

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/roomenv/roomenv/internal/text"
)

// sanitize escapes non-printing characters in the texts of r, such as control sequences
// of terminals and marks that reverse the direction of text.
func sanitize(r *Request) error {
	fields := []*string{&r.From, &r.StoredFor, &r.URL, &r.Type, &r.AuthorizationEndpoint, &r.ClientID, &r.RedirectURI, &r.Challenge}
	scopes := make([]string, len(r.Scopes)) // those of the caller stay unchanged
	length := 0
	for n, s := range r.Scopes {
		length += len(s)
		scopes[n] = s
		fields = append(fields, &scopes[n])
	}
	r.Scopes = scopes
	if length > maxField || len(scopes) > maxField || len(r.ID) > maxField {
		return ErrTooLong
	}
	if r.ID != text.Printable(r.ID, 0) {
		return ErrBadID
	}
	for _, f := range fields {
		if len(*f) > maxField {
			return ErrTooLong
		}
		*f = text.Printable(*f, 0)
	}
	return nil
}

// Subject returns the URL of a secret request, or the provider.
func (r Request) Subject() string {
	if r.Kind == OAuth {
		return r.Provider()
	}
	return r.URL
}

// Describe returns a pending request in lines of text.
func (r Request) Describe() string {
	what, fields := "asks for a secret", [][2]string{{"for", r.URL}, {"type", r.Type}}
	switch {
	case r.Kind == OAuth:
		what = "asks you to sign in"
		scopes := cmp.Or(strings.Join(r.Scopes, " "), "provider default")
		fields = [][2]string{{"at", r.Provider()}, {"client", r.ClientID}, {"scopes", scopes}}
	case r.Type == Git:
		what = "asks for a user name and a password"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", cmp.Or(r.From, "someone"), what)
	for _, f := range append(fields,
		[2]string{"stored for", cmp.Or(r.StoredFor, "the requester")},
		[2]string{"until", fmt.Sprintf("%s (%s left)", r.Expires.Local().Format(time.TimeOnly), time.Until(r.Expires).Round(time.Second))},
	) {
		fmt.Fprintf(&b, "  %-11s %s\n", f[0], f[1])
	}
	return b.String()
}

// Outcome returns a closed request in a line of text.
func (r Request) Outcome() string {
	what := map[State]string{
		Provided: "provided",
		Rejected: "rejected",
		Expired:  "expired",
		Closed:   "closed",
		Failed:   "failed",
	}[r.State]
	if r.Reason != "" {
		what += " (" + r.Reason + ")"
	}
	return r.Subject() + ": " + what + "\n"
}
