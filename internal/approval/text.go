package approval

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/roomenv/roomenv/internal/text"
)

// sanitize escapes non-printing characters in the texts of r, such as control sequences
// of terminals and marks that reverse the direction of text.
func sanitize(r *Request) error {
	fields := []*string{
		&r.From, &r.StoredFor, &r.URL, &r.Type,
		&r.AuthorizationEndpoint, &r.TokenEndpoint, &r.ClientID, &r.RedirectURI, &r.Challenge, &r.Issuer,
	}
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
	r.URL = ASCIIHost(r.URL)
	return nil
}

// Subject returns the URL of a secret request, or the provider.
func (r Request) Subject() string {
	if r.Kind == OAuth {
		return r.Provider()
	}
	return r.URL
}

// A Detail is a line about a request. Note is a remark on Text, which may be "".
type Detail struct{ Name, Text, Note string }

// Details returns what the person has to know besides the requester and the subject.
// Every host that gets a code or a token is in it.
func (r Request) Details() []Detail {
	storedFor := Detail{"stored for", cmp.Or(r.StoredFor, "the requester"), ""}
	if r.Kind == Secret {
		var details []Detail
		if hostOf(r.URL) == "" && strings.Contains(strings.ToLower(r.URL), `\u`) {
			details = append(details, Detail{"host", "unknown", "the request names no URL of a host"})
		}
		if r.Type != Git {
			details = append(details, Detail{"type", r.Type, ""})
		}
		return append(details, storedFor)
	}
	tokens, redirect := "", "the browser takes the code to this site"
	if origin(r.TokenEndpoint) != origin(r.AuthorizationEndpoint) {
		tokens = "not at " + r.Provider()
	}
	if u, err := url.Parse(r.RedirectURI); err == nil && r.LoopbackRedirect() {
		redirect = "roomenv listens on port " + cmp.Or(u.Port(), "80") + " of this machine"
	}
	details := []Detail{
		{"sign-in page", r.AuthorizationEndpoint, ""},
		{"token from", cmp.Or(r.TokenEndpoint, "unknown"), tokens},
		{"redirect to", r.RedirectURI, redirect},
		{"client", r.ClientID, ""},
		{"scopes", cmp.Or(strings.Join(r.Scopes, " "), "provider default"), ""},
	}
	if r.Challenge == "" {
		details = append(details, Detail{"PKCE", "not used", "a stolen code can be used"})
	}
	return append(details, storedFor)
}

// Describe returns a pending request in lines of text.
func (r Request) Describe() string {
	what, details := "asks for a secret", r.Details()
	switch {
	case r.Kind == OAuth:
		what = "asks you to sign in at " + r.Provider()
	case r.Type == Git:
		what = "asks for a user name and a password"
	}
	if r.Kind != OAuth {
		details = append([]Detail{{"for", r.URL, ""}}, details...)
	}
	details = append(details, Detail{"until", r.Expires.Local().Format(time.TimeOnly), time.Until(r.Expires).Round(time.Second).String() + " left"})
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", cmp.Or(r.From, "someone"), what)
	for _, d := range details {
		fmt.Fprintf(&b, "  %-12s %s", d.Name, d.Text)
		if d.Note != "" {
			fmt.Fprintf(&b, " (%s)", d.Note)
		}
		b.WriteByte('\n')
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
