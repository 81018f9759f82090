package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/roomenv/roomenv/internal/text"
)

// environment is the Position.File of inherited variables.
const environment = "environment"

// A source is a text that is being parsed: the one place that turns offsets
// into positions and faults into errors.
type source struct {
	file string
	schemes
	err   *Error // the file cannot be read
	text  string
	lines []int  // where each line starts; none for an inherited variable
	shown []bool // for each byte of text: it may be printed
	fault []fault
	files []fileItem
}

// A fault is an Error to be.
type fault struct {
	off           int
	message, hint string
}

func newSource(file, text string) *source {
	s := &source{file: file, text: text, lines: []int{0}, shown: make([]bool, len(text))}
	for i := range len(text) {
		if text[i] == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// fail records a fault. Its message and hint quote no value.
func (s *source) fail(off int, message, hint string) {
	s.fault = append(s.fault, fault{off, message, hint})
}

// show sets whether text[from:to] may be printed: a name, punctuation, a
// reference. It starts as false.
func (s *source) show(from, to int, may bool) {
	for i := from; i < to; i++ {
		s.shown[i] = may
	}
}

func (s *source) position(off int) Position {
	if s.lines == nil {
		return Position{File: s.file}
	}
	line, found := slices.BinarySearch(s.lines, off)
	if !found {
		line--
	}
	return Position{s.file, line + 1, off - s.lines[line] + 1}
}

// errors returns the faults in the order of their places.
func (s *source) errors() manifestErrors {
	if s.err != nil {
		return manifestErrors{s.err}
	}
	slices.SortStableFunc(s.fault, func(a, b fault) int { return a.off - b.off })
	var es manifestErrors
	for i, f := range s.fault {
		e := &Error{Pos: s.position(f.off), Message: f.message, Hint: f.hint}
		if i < maxErrors && e.Pos.Line > 0 {
			from := s.lines[e.Pos.Line-1]
			line, _, _ := strings.Cut(s.text[from:], "\n")
			e.Line, e.caret = excerpt(line, s.shown[from:from+len(line)], f.off-from)
		}
		es = append(es, e)
	}
	return es
}

// open reads a manifest file. Its text has no byte order mark, and "\n" at the
// end of lines.
func open(name string) *source {
	b, err := read(name)
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	fail := func(message, hint string) *source {
		return &source{file: name, err: &Error{Pos: Position{File: name}, Message: message, Hint: hint, Err: err}}
	}
	const rightFile = "is this the right file? a manifest is NAME=value lines or YAML"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(text.Reason(err).Error(), "write NAME=value lines into a file of this name")
	case err != nil:
		return fail(text.Reason(err).Error(), "")
	case len(b) > maxSize:
		return fail(fmt.Sprintf("larger than %d MiB", maxSize>>20), rightFile)
	case bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff")):
		return fail("is UTF-16", "save it as UTF-8")
	case len(bytes.TrimSpace(b)) == 0:
		return fail("is empty", "write NAME=value lines into it, or leave it out")
	case bytes.IndexByte(b, 0) >= 0:
		return fail("is not text: it has NUL bytes", rightFile)
	}
	s := newSource(name, strings.ReplaceAll(string(b), "\r\n", "\n"))
	for i, r := range s.text {
		if r == utf8.RuneError && !strings.HasPrefix(s.text[i:], string(utf8.RuneError)) {
			s.fail(i, "is not UTF-8", "save the file as UTF-8")
			break
		}
	}
	return s
}

// read returns what a file has, up to more than maxSize.
func read(name string) ([]byte, error) {
	// Without O_NONBLOCK opening a FIFO waits for a writer. Reading does wait for one
	// that has opened it, as of -m <(command).
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSize+1))
}
