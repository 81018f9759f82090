package approvalterm

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"golang.org/x/term"
)

// A question that comes before the line is being read takes the place of the one
// before, and stays.
func TestPromptReplacedAtOnce(t *testing.T) {
	var screen bytes.Buffer
	x := &tty{
		Terminal: term.NewTerminal(struct {
			io.Reader
			io.Writer
		}{strings.NewReader("yes\r"), &screen}, ""),
		questions: make(chan question),
		lines:     make(chan line, 1),
	}
	over := make(chan struct{})
	close(over)
	replaced := func() (<-chan struct{}, error) { return nil, nil }
	taken := make(chan question)
	go func() { taken <- <-x.questions }() // and reads nothing for now
	if _, err := x.ask(t.Context(), question{text: "first? "}, over, replaced); err != nil {
		t.Fatal(err)
	}
	if _, err := x.ask(t.Context(), question{text: "second? "}, over, replaced); err != nil {
		t.Fatal(err)
	}
	screen.Reset()
	x.readLine(<-taken)
	if l := <-x.lines; l.text != "yes" || l.err != nil || !strings.Contains(screen.String(), "second? ") || strings.Contains(screen.String(), "first? ") {
		t.Errorf("%+v was typed at %q", l, screen.String())
	}
}
