package manifest

import (
	"fmt"
	"net/url"
	"strings"
)

// String returns FILE:LINE:COLUMN, or FILE alone where there are no lines.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// String returns the reference as it is written, with what decides the value
// and without the rest of the query: a default may be a secret.
func (r Reference) String() string {
	if r.Field == "" {
		return r.Target.String()
	}
	return r.Target.String() + "#" + (&url.URL{Fragment: r.Field}).EscapedFragment()
}

// String returns the reference to t.
func (t Target) String() string {
	var b strings.Builder
	b.WriteString("room:")
	if t.Room != "" {
		b.WriteString("//" + url.PathEscape(t.Room) + "/")
	}
	b.WriteString(t.Kind + "/" + (&url.URL{Path: t.ID}).EscapedPath())
	separator := "?"
	for _, q := range []struct{ key, value string }{
		{"type", t.Type}, {"name", t.Name}, {"delegated_to", t.DelegatedTo},
	} {
		if q.value != "" {
			b.WriteString(separator + q.key + "=" + url.QueryEscape(q.value))
			separator = "&"
		}
	}
	return b.String()
}
