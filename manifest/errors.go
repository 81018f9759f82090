package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An Error is one error in a manifest. None of its texts holds a literal
// value: a value in a manifest may be a secret.
type Error struct {
	Pos     Position // Line is 0 if the error is not at one place of a file
	Line    string   // the line of the error, with "…" for all that may be secret; "" if nothing of it may be shown
	Message string
	Hint    string // what to do about it, or ""
	Err     error  // the cause, where there is one: an error of package os

	caret int // runes of Line before the place of the error
}

// Error is the message for a person: FILE:LINE:COLUMN: MESSAGE, then the line, a caret
// below it, and the hint.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %s", e.Pos, e.Message)
	if e.Line != "" {
		fmt.Fprintf(&b, "\n    %s\n    %s^", e.Line, strings.Repeat(" ", e.caret))
	}
	if e.Hint != "" {
		fmt.Fprintf(&b, "\n  hint: %s", e.Hint)
	}
	return b.String()
}

// Unwrap returns the cause, so that errors.Is(err, fs.ErrNotExist) works.
func (e *Error) Unwrap() error { return e.Err }

// manifestErrors are the errors of a manifest, each an [*Error], in the order of its
// layers and their lines.
type manifestErrors []error

// maxErrors bounds what one run prints, for example for a file that is not a manifest.
const maxErrors = 20

// Error is the text of the first maxErrors errors, and how many more there are.
func (es manifestErrors) Error() string {
	var texts []string
	for _, e := range es[:min(len(es), maxErrors)] {
		texts = append(texts, e.Error())
	}
	if more := len(es) - maxErrors; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "\n")
}

// Unwrap returns the errors for errors.Is and errors.As.
func (es manifestErrors) Unwrap() []error { return es }

// excerptWidth is how many columns of a long line are shown around an error.
const excerptWidth = 100

var (
	spaces = regexp.MustCompile(` +`)
	hidden = regexp.MustCompile(`…( ?…)*`) // how many words there are is a secret too
)

// excerpt returns line with what is not in shown as "…", bounded to
// excerptWidth runes, and the index of the rune that stands for the byte at.
func excerpt(line string, shown []bool, at int) (text string, caret int) {
	if !slices.Contains(shown, true) {
		return "", 0
	}
	redacted := func(end int) []rune {
		var b strings.Builder
		for i, r := range line[:end] {
			switch {
			case unicode.IsSpace(r):
				r = ' '
			case !shown[i]:
				r = '…'
			case !unicode.IsPrint(r):
				r = utf8.RuneError
			}
			b.WriteRune(r)
		}
		all := spaces.ReplaceAllString(strings.TrimLeft(b.String(), " "), " ")
		return []rune(hidden.ReplaceAllString(all, "…"))
	}
	out := redacted(len(line))
	caret = len(out)
	if at < len(line) {
		_, width := utf8.DecodeRuneInString(line[at:])
		caret = max(len(redacted(at+width))-1, 0)
	}
	if from := caret - excerptWidth*2/3; from > 0 {
		out = append([]rune{'…'}, out[from:]...)
		caret -= from - 1
	}
	if len(out) > excerptWidth {
		out = append(out[:excerptWidth-1], '…')
	}
	return strings.TrimRightFunc(string(out), unicode.IsSpace), caret
}
