package manifest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An Error is one fault of a manifest. None of its texts holds a literal
// value: a value that was written into a manifest may be a secret.
type Error struct {
	Pos     Position // Line is 0 when the fault is not at one place of a file
	Line    string   // the line at fault, all that may be secret replaced by "…"; "" when nothing of it may be shown
	Message string
	Hint    string // what to do about it, or ""
	Err     error  // the cause, where there is one: an error of package os

	caret int // runes of Line before the place of the fault
}

// Error is the message for a person: one line, then the line at fault, a caret
// below it, and the hint, where they exist.
func (e *Error) Error() string {
	var b strings.Builder
	switch {
	case e.Pos.File == "":
		fmt.Fprintf(&b, "cannot parse reference: %s", e.Message)
	case e.Pos.Line == 0:
		fmt.Fprintf(&b, "cannot read %s: %s", e.Pos.File, e.Message)
	default:
		fmt.Fprintf(&b, "cannot read %s:%d:%d: %s", e.Pos.File, e.Pos.Line, e.Pos.Column, e.Message)
	}
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

// Errors are all faults of a manifest, in the order of its layers and their
// lines.
type Errors []*Error

// maxErrors bounds what one run prints: who gave the wrong file has no use for
// a message for each of its lines.
const maxErrors = 20

// Error is the text of the first 20 errors, and how many there are beyond.
func (es Errors) Error() string {
	var b strings.Builder
	for i, e := range es {
		if i == maxErrors {
			fmt.Fprintf(&b, "\nand %d more", len(es)-maxErrors)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(e.Error())
	}
	return b.String()
}

// Unwrap returns the errors for errors.Is and errors.As.
func (es Errors) Unwrap() []error {
	all := make([]error, len(es))
	for i, e := range es {
		all[i] = e
	}
	return all
}

// excerptWidth is how many columns of a long line are shown around a fault.
const excerptWidth = 100

// excerpt returns line with each run of bytes that is not in shown replaced by
// "…", and how many runes of the result are before the byte at.
func excerpt(line string, shown []bool, at int) (text string, caret int) {
	var out []rune
	visible := false
	caret = -1
	for i := 0; i < len(line); {
		end := i
		for end < len(line) && shown[end] == shown[i] {
			end++
		}
		run := line[i:end]
		if at >= i && at < end {
			caret = len(out)
		}
		switch {
		case shown[i]:
			visible = true
			if caret == len(out) {
				caret += utf8.RuneCountInString(line[i:at])
			}
			out = append(out, []rune(strings.Map(printable, run))...)
		case strings.TrimSpace(run) == "":
			if i > 0 { // the indentation says nothing
				out = append(out, ' ')
			}
		default:
			if i > 0 && unicode.IsSpace(rune(run[0])) {
				out = append(out, ' ')
				if caret >= 0 && caret == len(out)-1 && !unicode.IsSpace(rune(line[at])) {
					caret++
				}
			}
			out = append(out, '…')
			if unicode.IsSpace(rune(run[len(run)-1])) {
				out = append(out, ' ')
			}
		}
		i = end
	}
	if caret < 0 {
		caret = len(out)
	}
	if !visible {
		return "", 0
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

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return utf8.RuneError
}

// nearest returns the word of known that s is probably a misspelling of, or "".
func nearest(s string, known ...string) string {
	best, found := 3, ""
	if len(s) > 64 {
		return ""
	}
	for _, k := range known {
		if d := distance(s, k); d < best && d < len(k) {
			best, found = d, k
		}
	}
	return found
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// didYouMean is the hint for a word that is not among known.
func didYouMean(s string, known ...string) string {
	if word := nearest(s, known...); word != "" {
		return fmt.Sprintf("did you mean %q?", word)
	}
	return "one of " + strings.Join(known, ", ")
}
