package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"

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
	url                     string // answered by the source below
	source                  valueSource
}

// errOnce ends a view with --once.
var errOnce = errors.New("one request is done")

func newRequests(a *app) *cobra.Command {
	var o requests
	cmd := &cobra.Command{
		Use:   "requests [--once] [--json | --web | --url U (--from-file F | --from-command C)]",
		Short: "See what others ask of you, and answer",
		Long: `requests joins the room as you and waits for what others ask of you: secrets, and
to sign in at OAuth providers. In a terminal it asks you for each answer; with
--web it serves a page that does. Elsewhere it prints each request, with the ID
that ` + "`roomenv requests answer`" + ` takes.

It sees the requests that arrive while it runs. What you answer goes to the room,
which stores it and hands it to the one who asked.`,
		Example: `  roomenv requests
  roomenv requests --web --open
  roomenv requests --url https://stripe.com --from-command 'pass show stripe'
  roomenv requests --json --once`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.source.given() != (o.url != "") {
				return hint(errors.New("cannot answer by itself: --url and one of --from-file and --from-command belong together"),
					"--url says which requests get the value")
			}
			return a.requests(cmd, &o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.asJSON, "json", false, "print a JSON object for each request, and again when it has ended")
	f.BoolVar(&o.once, "once", false, "end after one request: when it has ended or, where it is only printed, at once")
	f.BoolVar(&o.web, "web", false, "serve a page, and print a link to it that works once")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "`ADDR`ess of the page; port 0 takes a free one")
	f.BoolVar(&o.open, "open", false, "open the page, and the consent pages of providers, in a browser")
	f.StringVar(&o.url, "url", "", "answer requests for this URL by itself")
	o.source.flags(f)
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
			return fmt.Errorf("cannot be asked: %w", err)
		}
		err := o.view(ctx, a, cmd.OutOrStdout(), inbox, c.Session())
		switch {
		case errors.Is(err, errOnce):
			return nil
		case c.Err() != nil:
			return fmt.Errorf("cannot wait for requests any more: %w", c.Err())
		case ctx.Err() != nil && !o.once:
			return nil // SIGINT and SIGTERM are how this ends
		}
		return err
	})
}

// view shows the inbox until ctx ends.
func (o *requests) view(ctx context.Context, a *app, stdout io.Writer, inbox *approval.Inbox, us room.Session) error {
	switch {
	case o.web:
		return o.serve(ctx, stdout, approvalweb.Config{Inbox: inbox, Identity: us.Name, Room: us.RoomName, Logger: a.log})
	case o.asJSON:
		encoder := json.NewEncoder(stdout)
		return follow(ctx, inbox, func(r approval.Request) error {
			r.Expires = r.Expires.UTC()
			return o.printed(encoder.Encode(r))
		})
	}
	fmt.Fprintf(os.Stderr, "roomenv: waiting for requests to %s in the room %s\n", text.Printable(us.Name, 0), text.Printable(us.RoomName, 0))
	switch {
	case o.url != "":
		return follow(ctx, inbox, func(r approval.Request) error { return o.answer(ctx, stdout, inbox, r) })
	case term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())):
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

// answer answers r by itself if it is one of those that the flags are about.
func (o *requests) answer(ctx context.Context, stdout io.Writer, inbox *approval.Inbox, r approval.Request) error {
	if err := printRequest(stdout, r); err != nil {
		return err
	}
	if r.State != approval.Pending || r.Kind != approval.Secret || r.URL != o.url {
		return nil
	}
	value, err := o.source.value(ctx)
	if err != nil {
		return err
	}
	if err := inbox.Provide(ctx, r.ID, value); err != nil && !errors.Is(err, approval.ErrClosed) {
		return fmt.Errorf("cannot provide the secret for %q: %w", r.URL, err)
	}
	if r, _ = inbox.Request(r.ID); r.State == approval.Provided && o.once {
		return errors.Join(printRequest(stdout, r), errOnce)
	}
	return nil
}

func (o *requests) serve(ctx context.Context, stdout io.Writer, config approvalweb.Config) error {
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return hint(fmt.Errorf("cannot serve the page: %w", err), "give --listen another address, as 127.0.0.1:0")
	}
	if ip := listener.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		fmt.Fprintln(os.Stderr, "roomenv: the page is open to the network, and without TLS: secrets that are entered can be read on the way")
	}
	page := approvalweb.New(config)
	link := "http://" + listener.Addr().String() + page.Path()
	fmt.Fprintf(stdout, "open %s\n", link)
	if o.open {
		openBrowser(link)
	}
	return page.Serve(ctx, listener)
}

func (o *requests) prompt(ctx context.Context, inbox *approval.Inbox) error {
	config := approvalterm.Config{Inbox: inbox, Once: o.once, RunCommand: commandValue}
	config.ReadFile = func(path string) (secret.Value, error) { return readValue(strings.NewReader(""), path) }
	if o.open {
		config.OpenBrowser = openBrowser
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

// openBrowser is a convenience: the address was printed.
func openBrowser(address string) {
	opener := "xdg-open"
	if runtime.GOOS == "darwin" {
		opener = "open"
	}
	cmd := exec.Command(opener, address)
	if err := cmd.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "roomenv: cannot open a browser: %v\n", err)
		return
	}
	_ = cmd.Process.Release()
}

// printRequest prints a request for a person: whole when it waits, one line
// when it has ended.
func printRequest(w io.Writer, r approval.Request) error {
	text := r.Outcome()
	if r.State == approval.Pending {
		text = r.Describe() + "  answer    roomenv requests answer " + shellWord(r.ID) + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// shellWord quotes s where a shell would not take it as it is.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' || r == '_'
	}
	if s != "" && strings.TrimFunc(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
