package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/roomenv/roomenv/internal/approval"
	"github.com/roomenv/roomenv/secret"
)

// A conversation shows requests on a terminal and asks for answers, one request
// at a time, while others arrive.
type conversation struct {
	*requests
	inbox *approval.Inbox
	tty   *tty
	seen  map[string]approval.State
	later map[string]bool // what the person put off
}

func (o *requests) converse(ctx context.Context, inbox *approval.Inbox) error {
	t, err := openTTY()
	if err != nil {
		return err
	}
	defer t.close()
	c := conversation{o, inbox, t, make(map[string]approval.State), make(map[string]bool)}
	for {
		err := c.turn(ctx)
		switch {
		case errors.Is(err, errLeft) && o.once:
			return exitError{code: 128 + 2} // as SIGINT would
		case errors.Is(err, errLeft):
			return nil
		case err != nil:
			return err
		}
	}
}

// turn asks one question.
func (c *conversation) turn(ctx context.Context) error {
	changed := c.inbox.Changed()
	if err := c.news(); err != nil {
		return err
	}
	r, ok := c.next()
	if !ok {
		text := "(Ctrl-C ends) "
		if len(c.later) > 0 {
			text = "(Enter goes back to what was put off, Ctrl-C ends) "
		}
		_, err := c.tty.ask(ctx, prompt{text: text}, changed, c.until(func() bool { _, ok := c.next(); return ok }))
		if err == nil && !c.tty.reading {
			clear(c.later)
		}
		return err
	}
	text := subject(r) + ": [p]rovide, from a [f]ile or a [c]ommand, [r]eject, [l]ater? "
	if r.Kind == approval.OAuth {
		text = subject(r) + ": [s]ign in, [r]eject, [l]ater? "
	}
	choice, err := c.tty.ask(ctx, prompt{text: text}, changed, c.until(func() bool { return !c.waits(r.ID) }))
	if err != nil || c.tty.reading {
		return err
	}
	err = c.act(ctx, r, strings.ToLower(strings.TrimSpace(choice)))
	if err == nil || errors.Is(err, errLeft) || errors.Is(err, errOnce) || ctx.Err() != nil {
		return err
	}
	c.say(err.Error())
	return nil
}

// act does what was chosen for r.
func (c *conversation) act(ctx context.Context, r approval.Request, choice string) error {
	switch {
	case choice == "l":
		c.later[r.ID] = true
		return nil
	case choice == "r":
		reason, err := c.line(ctx, "reason: ", false)
		if err != nil {
			return err
		}
		return c.inbox.Reject(ctx, r.ID, reason)
	case choice == "s" && r.Kind == approval.OAuth:
		return c.signIn(ctx, r)
	case r.Kind == approval.Secret && (choice == "p" || choice == "f" || choice == "c"):
		value, err := c.value(ctx, r, choice)
		if err != nil {
			return err
		}
		return c.inbox.Provide(ctx, r.ID, value)
	}
	return nil // asks again
}

func (c *conversation) value(ctx context.Context, r approval.Request, choice string) (value secret.Value, err error) {
	switch choice {
	case "f":
		path, err := c.line(ctx, "file: ", false)
		if err != nil {
			return secret.Value{}, err
		}
		return readValue(strings.NewReader(""), path)
	case "c":
		command, err := c.line(ctx, "command: ", false)
		if err != nil {
			return secret.Value{}, err
		}
		if lendErr := c.tty.lend(func() { value, err = commandValue(ctx, command) }); lendErr != nil {
			return secret.Value{}, fmt.Errorf("cannot use the terminal: %w", lendErr)
		}
		return value, err
	}
	if r.Type == approval.Git {
		username, err := c.line(ctx, "user name: ", false)
		if err != nil {
			return secret.Value{}, err
		}
		password, err := c.line(ctx, "password, which is not shown: ", true)
		if err != nil {
			return secret.Value{}, err
		}
		return approval.GitValue(username, password)
	}
	typed, err := c.line(ctx, "value, which is not shown: ", true)
	return secret.New([]byte(typed)), err
}

// signIn sends the person to the provider, and waits for the redirect or for
// the address that the person pastes.
func (c *conversation) signIn(ctx context.Context, r approval.Request) error {
	address, err := c.inbox.Consent(r.ID)
	if err != nil {
		return err
	}
	c.say("open " + address)
	if c.open {
		openBrowser(address)
	}
	changed := c.inbox.Changed()
	pasted, err := c.tty.ask(ctx, prompt{text: "waiting for the browser; if it is on another machine, paste the address that it ended at: "},
		changed, c.until(func() bool { return !c.waits(r.ID) }))
	if err != nil || c.tty.reading || strings.TrimSpace(pasted) == "" {
		return err
	}
	return c.inbox.CompleteRedirect(ctx, r.ID, strings.TrimSpace(pasted))
}

// line reads a line about the request that is in turn. What arrives is shown
// meanwhile.
func (c *conversation) line(ctx context.Context, text string, hidden bool) (string, error) {
	return c.tty.ask(ctx, prompt{text, hidden}, c.inbox.Changed(), c.until(func() bool { return false }))
}

// until is for [tty.ask]: it shows the news, and is over when done says so.
func (c *conversation) until(done func() bool) func() (<-chan struct{}, error) {
	return func() (<-chan struct{}, error) {
		changed := c.inbox.Changed()
		if err := c.news(); err != nil || done() {
			return nil, err
		}
		return changed, nil
	}
}

// news shows what is new and what has ended.
func (c *conversation) news() error {
	now := make(map[string]approval.State)
	done := false
	for _, r := range c.inbox.Requests() {
		now[r.ID] = r.State
		switch {
		case c.seen[r.ID] == r.State:
		case r.State == approval.Pending:
			c.say("\n" + describe(r))
		default:
			delete(c.later, r.ID)
			c.say(ended(r))
			done = true
		}
	}
	c.seen = now // forgets what the inbox has forgotten
	if done && c.once {
		return errOnce
	}
	return nil
}

func (c *conversation) say(text string) {
	fmt.Fprintln(c.tty, strings.TrimRight(text, "\n"))
}

func (c *conversation) next() (approval.Request, bool) {
	for _, r := range c.inbox.Requests() {
		if r.State == approval.Pending && !c.later[r.ID] {
			return r, true
		}
	}
	return approval.Request{}, false
}

func (c *conversation) waits(id string) bool {
	r, ok := c.inbox.Request(id)
	return ok && r.State == approval.Pending
}
