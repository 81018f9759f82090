package fetch

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/roomenv/roomenv/manifest"
)

// An Error is the table of all references that have no value, in the order of
// the manifest.
type Error struct{ Failures []Failure }

// A Failure is one reference of one entry.
type Failure struct {
	Name      string // of the entry
	Pos       manifest.Position
	Reference string
	Err       error
}

// Unwrap returns the error of every row.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Failures))
	for i, r := range e.Failures {
		errs[i] = r.Err
	}
	return errs
}

// Bounds on a table: what rooms and manifests write can be long, and 1,000
// entries fail for one reason when their room is away. Missing ones are named
// all.
const (
	maxText  = 300 // bytes of a reason or a reference
	maxNamed = 10  // rows with one reason
)

var hints = []struct {
	state error
	text  string
}{
	{ErrMissing, "store it with `roomenv secret set ID --text VALUE`, or do without it: add ?default=VALUE or ?optional=true to the reference"},
	{ErrDenied, "the token has to be for this room, not expired, and with the `secrets` grant; it reads the secrets of its own identity"},
	{ErrUnreachable, "check MESHAGENT_ROOM, MESHAGENT_ROOM_URL and the network"},
	{ErrUnsupported, "use a room that has the secrets toolkit, and messaging where participants are asked"},
	{ErrRejected, "ask again, or do without it: add ?default=VALUE or ?optional=true to the reference"},
	{ErrNoAnswer, "who is asked runs `roomenv requests`; give them longer with timeout=SECONDS, or do without it: add ?default=VALUE or ?optional=true to the reference"},
}

// state returns which of the errors of this package err wraps.
func state(err error) error {
	for _, h := range hints {
		if errors.Is(err, h.state) {
			return h.state
		}
	}
	return nil
}

// Error returns the rows under their reasons, each reason once, and a hint for
// each kind of failure.
func (e *Error) Error() string {
	var order []string
	rows := make(map[string][]Failure)
	for _, r := range e.Failures {
		reason := printable(r.Err.Error())
		if rows[reason] == nil {
			order = append(order, reason)
		}
		rows[reason] = append(rows[reason], r)
	}

	var text strings.Builder
	fmt.Fprintf(&text, "cannot resolve %s", plural(len(e.Failures), "reference"))
	for _, reason := range order {
		group := rows[reason]
		fmt.Fprintf(&text, "\n  %s", reason)
		named := group
		if !errors.Is(group[0].Err, ErrMissing) {
			named = group[:min(len(group), maxNamed)]
		}
		for _, r := range named {
			fmt.Fprintf(&text, "\n    %s\t%s\t%s", r.Name, r.Pos, printable(r.Reference))
		}
		if more := len(group) - len(named); more > 0 {
			fmt.Fprintf(&text, "\n    and %d more", more)
		}
	}
	for _, h := range hints {
		if errors.Is(e, h.state) {
			fmt.Fprintf(&text, "\nhint: %s: %s", h.state, h.text)
		}
	}

	var aligned strings.Builder // whose writes do not fail
	w := tabwriter.NewWriter(&aligned, 0, 0, 2, ' ', 0)
	_, _ = io.WriteString(w, text.String())
	_ = w.Flush()
	return aligned.String()
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// printable makes a text that someone else wrote fit for a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
