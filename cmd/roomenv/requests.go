package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/roomenv/roomenv/internal/approval"
	"github.com/roomenv/roomenv/internal/approvalterm"
	"github.com/roomenv/roomenv/internal/approvalweb"
	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// requests is what the flags of `roomenv requests` say.
type requests struct {
	asJSON, once, web, open bool
	listen                  string
	auto                    automatic
}

// automatic is which requests are answered without a person, and how.
type automatic struct {
	url      string
	typ      string        // "" is every type
	names    []string      // that may get the value; "*" is every name
	duration time.Duration // until roomenv exits; 0 is without limit
	source   valueSource
}

// check fails unless the flags that are set go together.
func (o *automatic) check() error {
	switch {
	case !o.source.given() && (o.url != "" || o.typ != "" || len(o.names) > 0 || o.duration != 0):
		return errors.New("--url, --for, --type and --duration require --from-file or --from-command")
	case !o.source.given():
		return nil
	case o.url == "":
		return errors.New("--from-file and --from-command require --url")
	case len(o.names) == 0:
		return hint(errors.New("missing --for: the participants that may get the value"), "pass --for NAME, and repeat it for each of them")
	}
	return nil
}

// selects reports whether r is answered. Who asks and who gets the value may be two
// participants, which both have to be named.
func (o *automatic) selects(r approval.Request) bool {
	named := func(name string) bool {
		return slices.Contains(o.names, "*") || name != "" && slices.Contains(o.names, name)
	}
	return r.State == approval.Pending && r.Kind == approval.Secret && r.URL == approval.ASCIIHost(o.url) && (o.typ == "" || r.Type == o.typ) &&
		named(r.From) && named(r.StoredFor)
}

// errOnce ends a view with --once.
var errOnce = errors.New("one request is closed")

func newRequests(a *app) *cobra.Command {
	var o requests
	cmd := &cobra.Command{
		Use:   "requests [--once] [--json | --web | --url U --for NAME (--from-file F | --from-command C)]",
		Short: "Receive and answer requests from other participants",
		Long: `Join the room with your identity and receive requests for secrets and for OAuth
authorizations. In a terminal it prompts for each answer; with --web it serves a page
to answer on. Otherwise it prints each request, with the ID for
` + "`roomenv requests answer`" + `.

With --from-file or --from-command it answers the requests for one URL by itself, of
the participants that --for names, and prints the others.

It receives the requests that arrive while it runs. The room stores the answer and
sends it to the requester.`,
		Example: `  roomenv requests
  roomenv requests --web --open
  roomenv requests --url https://stripe.com --for agent --from-command 'pass show stripe'
  roomenv requests --json --once`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.auto.check(); err != nil {
				return err
			}
			switch {
			case cmd.Flags().Changed("listen") && !o.web:
				return errors.New("--listen requires --web")
			case o.open && !o.web && !o.prompts():
				return errors.New("--open requires --web or a terminal")
			}
			return a.requests(cmd, &o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.asJSON, "json", false, "print a JSON object for each request, and again when it is closed")
	f.BoolVar(&o.once, "once", false, "exit after one request is closed (with --json or without a terminal: after one is printed)")
	f.BoolVar(&o.web, "web", false, "serve a page, and print a link to it that works once")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "`host:port` of the page; port 0 selects a free port")
	f.BoolVar(&o.open, "open", false, "open the page, and the consent pages of providers, in a browser")
	f.StringVar(&o.auto.url, "url", "", "answer requests for this `url` automatically")
	f.StringArrayVar(&o.auto.names, "for", nil, "`name` of a participant that may get an automatic answer; repeat for several; * is every participant")
	f.StringVar(&o.auto.typ, "type", "", "answer only requests of this media `type` automatically")
	durationFlag(f, &o.auto.duration, "duration", 0, "answer automatically for this `time`, such as 8h, then exit")
	o.auto.source.flags(f)
	cmd.MarkFlagsMutuallyExclusive("json", "web", "from-file", "from-command")
	cmd.MarkFlagsMutuallyExclusive("web", "once")
	a.roomFlags(cmd.PersistentFlags())
	cmd.AddCommand(newRequestsAnswer(a))
	return cmd
}

func (a *app) requests(cmd *cobra.Command, o *requests) error {
	inbox := new(approval.Inbox)
	defer inbox.Close()
	configure := func(c *room.Config) {
		c.OnSecretRequested = inbox.OnSecretRequested
		c.OnOAuthRequested = inbox.OnOAuthRequested
	}
	return a.withRoom(cmd.Context(), configure, func(c *room.Client) error {
		ctx, cancel := context.WithCancel(cmd.Context())
		var waiting sync.WaitGroup
		defer waiting.Wait()
		defer cancel()
		waiting.Go(func() {
			select {
			case <-c.Done():
				cancel()
			case <-ctx.Done():
			}
		})
		if err := c.Messaging().Enable(ctx); err != nil {
			return fmt.Errorf("receive requests: %w", err)
		}
		err := o.view(ctx, a, cmd.OutOrStdout(), inbox, c.Session())
		switch {
		case errors.Is(err, errOnce):
			return nil
		case c.Err() != nil:
			return fmt.Errorf("receive requests: disconnected: %w", c.Err())
		case ctx.Err() != nil && !o.once:
			return nil // SIGINT and SIGTERM end it
		}
		return err
	})
}

// prompts reports whether each answer is asked for in a terminal.
func (o *requests) prompts() bool {
	return !o.web && !o.asJSON && !o.auto.source.given() && term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd()))
}

// view shows the inbox until ctx ends.
func (o *requests) view(ctx context.Context, a *app, stdout io.Writer, inbox *approval.Inbox, us room.Session) error {
	switch {
	case o.web:
		return o.serve(ctx, stdout, approvalweb.Config{Inbox: inbox, Identity: us.Name, Room: us.RoomName, Logger: a.log})
	case o.asJSON:
		return follow(ctx, inbox, func(r approval.Request) error {
			r.Expires = r.Expires.UTC()
			return o.printed(printJSON(stdout, r, ""))
		})
	}
	fmt.Fprintf(os.Stderr, "roomenv: waiting for requests to %s in the room %s\n", text.Printable(us.Name, 0), text.Printable(us.RoomName, 0))
	switch {
	case o.auto.source.given():
		return o.answerAll(ctx, stdout, inbox)
	case o.prompts():
		return o.prompt(ctx, inbox)
	}
	return follow(ctx, inbox, func(r approval.Request) error { return o.printed(printRequest(stdout, r)) })
}

// follow calls show for each update until show fails or ctx ends.
func follow(ctx context.Context, inbox *approval.Inbox, show func(approval.Request) error) error {
	for u := (approval.Updates{Inbox: inbox}); ; {
		changed := inbox.Changed()
		for _, r := range u.Next() {
			if err := show(r); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (o *requests) printed(err error) error {
	if err == nil && o.once {
		return errOnce
	}
	return err
}

// answerAll answers requests automatically until the duration is over. An answer that has
// begun then is finished.
func (o *requests) answerAll(ctx context.Context, stdout io.Writer, inbox *approval.Inbox) error {
	limited := ctx
	if o.auto.duration > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, o.auto.duration)
		defer cancel()
	}
	err := follow(limited, inbox, func(r approval.Request) error { return o.answer(ctx, stdout, inbox, r) })
	if ctx.Err() != nil || !errors.Is(err, limited.Err()) {
		return err
	}
	if o.once {
		return fmt.Errorf("no request was answered within %s", o.auto.duration)
	}
	return nil
}

// answer answers r automatically if the flags select it.
func (o *requests) answer(ctx context.Context, stdout io.Writer, inbox *approval.Inbox, r approval.Request) error {
	if err := printRequest(stdout, r); err != nil {
		return err
	}
	if !o.auto.selects(r) {
		return nil
	}
	value, err := o.auto.source.value(ctx)
	if err != nil {
		return err
	}
	if err := inbox.Provide(ctx, r.ID, value); err != nil && !errors.Is(err, approval.ErrClosed) {
		return fmt.Errorf("provide secret for %q: %w", r.URL, err)
	}
	if r, _ = inbox.Request(r.ID); r.State == approval.Provided && o.once {
		return errors.Join(printRequest(stdout, r), errOnce)
	}
	return nil
}

func (o *requests) serve(ctx context.Context, stdout io.Writer, config approvalweb.Config) error {
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return hint(fmt.Errorf("serve page: %w", err), "pass a different address with --listen, such as 127.0.0.1:0")
	}
	if ip := listener.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		fmt.Fprintln(os.Stderr, "roomenv: the page is reachable from the network without TLS: others can read the secrets that are entered")
	}
	page := approvalweb.New(config)
	link := "http://" + listener.Addr().String() + page.Path()
	fmt.Fprintf(stdout, "open %s\n", link)
	if o.open {
		var browser browser
		defer browser.close()
		browser.open(link)
	}
	return page.Serve(ctx, listener)
}

func (o *requests) prompt(ctx context.Context, inbox *approval.Inbox) error {
	config := approvalterm.Config{Inbox: inbox, Once: o.once, RunCommand: commandValue}
	config.ReadFile = func(path string) (secret.Value, error) { return readValue(strings.NewReader(""), path) }
	if o.open {
		var browser browser
		defer browser.close()
		config.OpenBrowser = browser.open
	}
	err := approvalterm.Run(ctx, config)
	switch {
	case !errors.Is(err, approvalterm.ErrLeft):
		return err
	case o.once:
		return exitError{code: 128 + 2} // as SIGINT would
	}
	return nil
}

// printRequest prints a request for a person: whole while it is pending, one line
// when it is closed.
func printRequest(w io.Writer, r approval.Request) error {
	text := r.Outcome()
	if r.State == approval.Pending {
		text = r.Describe() + "  answer       roomenv requests answer " + shellWord(r.ID) + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// shellWord quotes s where a shell would not take it verbatim.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' || r == '_'
	}
	if s != "" && strings.TrimFunc(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
