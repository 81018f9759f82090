package manifest

import (
	"fmt"
	"net/url"
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
