package approvalterm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// maxTyped is where x/term stops to take characters, without a word.
const maxTyped = 4096

// ErrLeft is Ctrl-C or Ctrl-D at a prompt.
var ErrLeft = errors.New("left")

// A tty is the terminal that we talk with a person on: lines are read while
// others are written above them. It is in raw mode until it is closed.
type tty struct {
	*term.Terminal // writes go above the prompt
	fd             int
	before         *term.State

	questions chan question
	lines     chan line
	reading   bool // a line that nobody waits for any more, or not yet
}

type question struct {
	text   string
	hidden bool // what is typed
}

type line struct {
	text string
	err  error
}

func openTTY() (*tty, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, fmt.Errorf("cannot use the terminal: %w", err)
	}
	t := &tty{
		Terminal: term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{os.Stdin, os.Stderr}, ""),
		fd:        fd,
		before:    before,
		questions: make(chan question),
		lines:     make(chan line, 1),
	}
	go t.read()
	return t, nil
}

// close gives the terminal back. A read of it cannot be ended: the goroutine
// that may be left in one ends with the program.
func (t *tty) close() {
	close(t.questions)
	if t.reading {
		_, _ = io.WriteString(os.Stderr, "\r\n")
	}
	_ = term.Restore(t.fd, t.before)
}

func (t *tty) read() {
	for q := range t.questions {
		t.readLine(q)
	}
}

// readLine reads with the prompt that there is by then, which need not be q any
// more: before this goroutine runs, another one may have taken its place.
func (t *tty) readLine(q question) {
	var l line
	if q.hidden {
		l.text, l.err = t.ReadPassword(q.text)
	} else {
		l.text, l.err = t.ReadLine()
	}
	t.lines <- l
}

// ask reads a line. When again is closed it calls look, and goes on waiting
// with the channel that look returns; when look returns nil, ask does so with
// an empty line, and the next prompt, which must not be hidden, takes this
// one's place.
func (t *tty) ask(ctx context.Context, q question, again <-chan struct{}, look func() (<-chan struct{}, error)) (string, error) {
	if width, height, err := term.GetSize(t.fd); err == nil {
		_ = t.SetSize(width, height)
	}
	if !q.hidden {
		t.SetPrompt(q.text)
	}
	if t.reading {
		_, _ = t.Write(nil) // draws it
	} else {
		t.questions <- q
		t.reading = true
	}
	for {
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-again:
			var err error
			if again, err = look(); again == nil || err != nil {
				return "", err
			}
		case l := <-t.lines:
			t.reading = false
			switch {
			case errors.Is(l.err, io.EOF):
				return "", ErrLeft
			case l.err != nil:
				return "", fmt.Errorf("cannot read from the terminal: %w", l.err)
			case len(l.text) >= maxTyped:
				return "", errTooLong
			}
			return l.text, nil
		}
	}
}

var errTooLong = fmt.Errorf("a line of %d characters or more cannot be typed: use a file", maxTyped)

// lend gives the terminal to f, in the mode that it was in.
func (t *tty) lend(f func()) error {
	if err := term.Restore(t.fd, t.before); err != nil {
		return err
	}
	f()
	_, err := term.MakeRaw(t.fd)
	return err
}
