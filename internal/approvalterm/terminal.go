package approvalterm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// maxTyped is where x/term silently stops to read characters.
const maxTyped = 4096

// ErrLeft is Ctrl-C or Ctrl-D at a prompt.
var ErrLeft = errors.New("left")

// A tty is the terminal of a person: it reads a line while others are written above. It
// is in raw mode until it is closed.
type tty struct {
	*term.Terminal // writes go above the prompt
	fd             int
	before         *term.State

	questions chan question
	lines     chan line
	reading   bool // a line; its question may have been replaced
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
		return nil, fmt.Errorf("use terminal: %w", err)
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

// close restores the terminal. A read cannot be canceled: a goroutine that is in one
// remains until roomenv exits.
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

// readLine reads with the current prompt, which may have replaced that of q before this
// goroutine runs.
func (t *tty) readLine(q question) {
	var l line
	if q.hidden {
		l.text, l.err = t.ReadPassword(q.text)
	} else {
		l.text, l.err = t.ReadLine()
	}
	t.lines <- l
}

// ask reads a line. When again is closed, it calls look and continues with the channel
// that look returns. If that is nil, ask returns an empty line, and the next question,
// which must not be hidden, replaces this one.
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
				return "", fmt.Errorf("read terminal: %w", l.err)
			case len(l.text) >= maxTyped:
				return "", errTooLong
			}
			return l.text, nil
		}
	}
}

var errTooLong = fmt.Errorf("typed value has %d characters or more: use a file", maxTyped)

// lend runs f with the terminal in its original mode.
func (t *tty) lend(f func()) error {
	if err := term.Restore(t.fd, t.before); err != nil {
		return err
	}
	f()
	_, err := term.MakeRaw(t.fd)
	return err
}
