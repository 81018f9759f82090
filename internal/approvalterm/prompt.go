// Package approvalterm shows an inbox (package approval) on a terminal and asks a
// person for the answers.
package approvalterm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/roomenv/roomenv/internal/approval"
	"github.com/roomenv/roomenv/secret"
)

// Config is what [Run] shows, and how it gets answers.
type Config struct {
	Inbox       *approval.Inbox
	Once        bool // return after one request is closed
	ReadFile    func(path string) (secret.Value, error)
	RunCommand  func(ctx context.Context, command string) (secret.Value, error) // it has the terminal
	OpenBrowser func(address string)                                            // nil: the person opens addresses
}

// errOnce ends a prompt with Once.
var errOnce = errors.New("one request is closed")

// A prompt shows requests on a terminal and asks for answers, one request at a time,
// while others arrive.
type prompt struct {
	Config
	updates approval.Updates
	tty     *tty
	later   map[string]bool // IDs of postponed requests
}

// Run shows requests on the terminal of stdin and stderr, and asks for answers, until ctx
// ends. It fails with [ErrLeft] if the person leaves.
func Run(ctx context.Context, c Config) error {
	t, err := openTTY()
	if err != nil {
		return err
	}
	defer t.close()
	p := prompt{c, approval.Updates{Inbox: c.Inbox}, t, make(map[string]bool)}
	for err == nil {
		err = p.next(ctx)
	}
	if errors.Is(err, errOnce) {
		return nil
	}
	return err
}

// next asks one question.
func (p *prompt) next(ctx context.Context) error {
	changed := p.Inbox.Changed()
	if err := p.printUpdates(); err != nil {
		return err
	}
	r, ok := p.current()
	if !ok {
		text := "(Ctrl-C: exit) "
		if len(p.later) > 0 {
			text = "(Enter: show postponed requests, Ctrl-C: exit) "
		}
		_, err := p.tty.ask(ctx, question{text: text}, changed, p.until(func() bool { _, ok := p.current(); return ok }))
		if err == nil && !p.tty.reading {
			clear(p.later)
		}
		return err
	}
	text := r.Subject() + ": [p]rovide, from a [f]ile or a [c]ommand, "
	if r.Kind == approval.OAuth {
		text = r.Subject() + ": [s]ign in, "
	}
	if text += "[r]eject, "; r.From != "" {
		text += "[m]ute, "
	}
	text += "[l]ater? "
	choice, err := p.tty.ask(ctx, question{text: text}, changed, p.until(func() bool { return !p.waits(r.ID) }))
	if err != nil || p.tty.reading {
		return err
	}
	err = p.handle(ctx, r, strings.ToLower(strings.TrimSpace(choice)))
	if err == nil || errors.Is(err, ErrLeft) || errors.Is(err, errOnce) || ctx.Err() != nil {
		return err
	}
	p.print(err.Error())
	return nil
}

// handle executes the choice for r.
func (p *prompt) handle(ctx context.Context, r approval.Request, choice string) error {
	switch {
	case choice == "l":
		p.later[r.ID] = true
		return nil
	case choice == "r":
		reason, err := p.line(ctx, "reason: ", false)
		if err != nil {
			return err
		}
		return p.Inbox.Reject(ctx, r.ID, reason)
	case choice == "m" && r.From != "":
		p.print("muted " + r.From + ": its requests are rejected until roomenv exits")
		return p.Inbox.Mute(ctx, r.ID)
	case choice == "s" && r.Kind == approval.OAuth:
		return p.signIn(ctx, r)
	case r.Kind == approval.Secret && (choice == "p" || choice == "f" || choice == "c"):
		value, err := p.value(ctx, r, choice)
		if err != nil {
			return err
		}
		return p.Inbox.Provide(ctx, r.ID, value)
	}
	return nil // asks again
}

func (p *prompt) value(ctx context.Context, r approval.Request, choice string) (value secret.Value, err error) {
	ask := func(text string, hidden bool) (typed string) {
		if err == nil {
			typed, err = p.line(ctx, text, hidden)
		}
		return typed
	}
	switch {
	case choice == "f":
		if path := ask("file: ", false); err == nil {
			value, err = p.ReadFile(path)
		}
	case choice == "c":
		if command := ask("command: ", false); err == nil {
			lendErr := p.tty.lend(func() { value, err = p.RunCommand(ctx, command) })
			err = errors.Join(lendErr, err)
		}
	case r.Type == approval.Git:
		username, password := ask("user name: ", false), ask("password (hidden): ", true)
		if err == nil {
			value, err = approval.GitValue(username, password)
		}
	default:
		value = secret.New([]byte(ask("value (hidden): ", true)))
	}
	return value, err
}

// signIn starts an authorization, and waits for the redirect or for the URL that the
// person pastes.
func (p *prompt) signIn(ctx context.Context, r approval.Request) error {
	address, err := p.Inbox.Consent(r.ID)
	if err != nil {
		return err
	}
	p.print("open " + address)
	if p.OpenBrowser != nil {
		p.OpenBrowser(address)
	}
	changed := p.Inbox.Changed()
	pasted, err := p.tty.ask(ctx, question{text: "waiting for the browser; if it runs on a different machine, paste the redirect URL: "},
		changed, p.until(func() bool { return !p.waits(r.ID) }))
	if err != nil || p.tty.reading || strings.TrimSpace(pasted) == "" {
		return err
	}
	return p.Inbox.CompleteRedirect(ctx, r.ID, strings.TrimSpace(pasted))
}

// line reads a line for the current request, and shows updates meanwhile.
func (p *prompt) line(ctx context.Context, text string, hidden bool) (string, error) {
	return p.tty.ask(ctx, question{text, hidden}, p.Inbox.Changed(), p.until(func() bool { return false }))
}

// until is for [tty.ask]: it shows updates until done.
func (p *prompt) until(done func() bool) func() (<-chan struct{}, error) {
	return func() (<-chan struct{}, error) {
		changed := p.Inbox.Changed()
		if err := p.printUpdates(); err != nil || done() {
			return nil, err
		}
		return changed, nil
	}
}

// printUpdates shows new and closed requests.
func (p *prompt) printUpdates() error {
	closed := false
	for _, r := range p.updates.Next() {
		if r.State == approval.Pending {
			p.print("\n" + r.Describe())
			continue
		}
		delete(p.later, r.ID)
		p.print(r.Outcome())
		closed = true
	}
	if closed && p.Once {
		return errOnce
	}
	return nil
}

func (p *prompt) print(text string) {
	fmt.Fprintln(p.tty, strings.TrimRight(text, "\n"))
}

func (p *prompt) current() (approval.Request, bool) {
	for _, r := range p.Inbox.Requests() {
		if r.State == approval.Pending && !p.later[r.ID] {
			return r, true
		}
	}
	return approval.Request{}, false
}

func (p *prompt) waits(id string) bool {
	r, ok := p.Inbox.Request(id)
	return ok && r.State == approval.Pending
}
