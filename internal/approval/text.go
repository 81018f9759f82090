package approval

import (
	"strconv"
	"strings"
)

// sanitize escapes what the texts of r hold that does not print, such as
// control sequences of a terminal and marks that reverse the direction of
// writing.
func sanitize(r *Request) error {
	fields := []*string{&r.From, &r.StoredFor, &r.URL, &r.Type, &r.AuthorizationEndpoint, &r.ClientID, &r.RedirectURI, &r.Challenge}
	scopes := make([]string, len(r.Scopes)) // the caller's stay as they are
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
	if r.ID != printable(r.ID) {
		return ErrBadID
	}
	for _, f := range fields {
		if len(*f) > maxField {
			return ErrTooLong
		}
		*f = printable(*f)
	}
	return nil
}

func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strconv.IsPrint(r) {
			b.WriteRune(r)
		} else {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}
