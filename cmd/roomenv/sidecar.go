package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/sidecar"
	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/runner"
)

// A sharing is one run of sidecar or render: a runner with files for other processes.
type sharing struct {
	upkeep
	signals *inject.Signals
	share   runner.Share
	given   *pflag.FlagSet
}

// flags adds those that sidecar and render have in common.
func (s *sharing) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	s.given = flags
	flags.StringArrayVarP(&s.config.Files, "manifest", "m", nil, "read this manifest `file`; repeat to layer files, later files override earlier ones")
	s.roomFlags(flags)
	flags.StringVar(&s.config.Dir, "dir", "", "`directory` on a tmpfs for the files")
	parsedFlag(flags, &s.share.Group, "group", "let this `group` read the files, by number (default this user alone)", func(text string) (*int, error) {
		group, err := strconv.ParseUint(text, 10, 31)
		id := int(group)
		return &id, err
	})
	if err := cmd.MarkFlagRequired("dir"); err != nil {
		panic(err)
	}
}

// open reads the manifest and takes the directory.
func (s *sharing) open() (err error) {
	s.configure()
	s.config.Share = &s.share
	s.config.Check = checkShared
	if s.config.Dir, err = filepath.Abs(s.config.Dir); err != nil {
		return err
	}
	if s.runner, err = runner.New(s.config); err != nil {
		return err
	}
	if err := checkReferences(s.given, s.runner.HasReferences()); err != nil {
		return err
	}
	return s.runner.OpenDir()
}

func (s *sharing) close() {
	if s.runner == nil {
		return
	}
	if err := s.runner.Close(); err != nil {
		s.log.Warn("closing failed", "error", err)
	}
}

// run has c use the files.
func (s *sharing) run(ctx context.Context, c runner.Consumer, serve func() error) (int, error) {
	tokenFile := s.tokenFile() // before it is read
	defer s.close()
	err := s.open()
	s.progress = newProgress(os.Stderr)
	defer s.progress.close()
	defer s.closeServers()
	if err == nil {
		err = serve()
	}
	if err != nil {
		return c.Stop(err)
	}
	defer s.watch(ctx, tokenFile, s.signals)()
	return s.runner.Run(ctx, c)
}

// checkShared refuses what takes a command.
func checkShared(m *manifest.Manifest) error {
	if len(m.Files) == 0 {
		return hint(errors.New("the manifest has no files"), "name a manifest with files: with -m, or give references file=PATH")
	}
	var errs []error
	fail := func(at manifest.Position, message, hint string) {
		errs = append(errs, &manifest.Error{Pos: at, Message: message, Hint: hint})
	}
	for _, e := range m.Entries {
		path := func(p manifest.Part) bool { return p.File != "" }
		if !e.Unset && !slices.ContainsFunc(e.Value, path) {
			fail(e.Pos, e.Name+": there is no command that gets a variable", "write it to a file with format: dotenv or format: shell, or use `roomenv exec`")
		}
	}
	for _, f := range m.Files {
		switch {
		case f.Memfd:
			fail(f.Pos, "memfd: there is no command that gets the file open", "remove memfd")
		case f.OnChange == nil:
		case f.OnChange.Kind == manifest.ChangeRestart:
			fail(f.Pos, "on_change: there is no command to restart", "use --exit-with, or a hook: {command: […]}, {http: URL} or {touch: PATH}")
		case f.OnChange.Kind == manifest.ChangeSignal:
			fail(f.Pos, "on_change: there is no command to signal", "use `roomenv sidecar --notify name=NAME=SIGNAL`")
		}
	}
	for _, key := range []string{"mask", "stop_signal", "stop_timeout", "on_change", "restart", "ready", "restart_on_failure"} {
		if at, ok := m.Exec.Pos[key]; ok {
			fail(at, key+": there is no command", "remove it")
		}
	}
	return errors.Join(errs...)
}

func newSidecar(a *app, signals *inject.Signals) *cobra.Command {
	s := sharing{upkeep: upkeep{app: a}, signals: signals}
	var c sidecar.Consumer
	cmd := &cobra.Command{
		Use:   "sidecar --dir DIR [flags]",
		Short: "Keep files current for other processes, without a command",
		Long: `Write the files of the manifest to DIR, and keep them current for processes of other
containers or services. They read the files in DIR/current, which is replaced
atomically.

If the room is unreachable, roomenv keeps trying. Files that an earlier process left
in DIR stay until then, and are replaced only by different ones. If a value is
revoked, the files with it are removed, and the others stay.

SIGHUP refreshes all values. After SIGTERM roomenv exits with 0; the files stay for
processes that use them. The exit code is 125 if roomenv itself fails.

A SELECTOR is name=NAME, with the name of the program (the first 15 bytes), or
cmd=ARGUMENT, with its first argument or the last component of that. Processes count if
they are of this user or in the group of --group. The containers of a pod need to share
process namespaces.`,
		Example: `  roomenv sidecar --dir /secrets/app --group 2000
  roomenv sidecar --dir /secrets/app --notify name=nginx --listen :9464`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.Command.Signals, c.Log, c.OnError = signals, s.log, func(err error) { s.printError(os.Stderr, err) }
			s.notify = s.reporter()
			c.Group = s.share.Group
			ctx := c.Start(cmd.Context())
			code, err := s.run(ctx, &reporting{Consumer: &c, notify: s.notify}, func() error {
				if server, err := status.ServeIn(s.config.Dir, s.share.Group, s.status, s.log); err != nil {
					s.log.Warn("status socket unavailable", "error", err)
				} else {
					s.servers = append(s.servers, server)
				}
				return s.serveStatus()
			})
			if err != nil || code != 0 {
				return exitError{code, err}
			}
			return nil
		},
	}
	s.flags(cmd)
	flags := cmd.Flags()
	parsedFlag(flags, &c.Notify, "notify", "send a signal (default HUP) to the processes of `SELECTOR[=SIGNAL]` after each change (repeatable)", func(text string) ([]sidecar.Notification, error) {
		n, err := sidecar.ParseNotification(text)
		return append(c.Notify, n), err
	})
	parsedFlag(flags, &c.ExitWith, "exit-with", "exit a second after the processes of `SELECTOR` have exited (repeatable)", func(text string) ([]sidecar.Selector, error) {
		selector, err := sidecar.ParseSelector(text)
		return append(c.ExitWith, selector), err
	})
	flags.BoolVar(&s.share.Remove, "remove", false, "remove the files at the end")
	durationFlag(flags, &s.config.Wait, "wait", 0, "wait this long for a room that is unreachable at the start (default without end)")
	s.config.Wait = -1
	flags.StringVar(&s.listen, "listen", "", "serve Prometheus metrics, /healthz and /readyz on `host:port`")
	return cmd
}

// A reporting sidecar tells the service manager when its files are there.
type reporting struct {
	*sidecar.Consumer
	notify func(report string) // nil afterwards, and without a manager
}

// Apply reports the first revision that is in use.
func (r *reporting) Apply(ctx context.Context, rev *runner.Revision, change runner.Change) error {
	err := r.Consumer.Apply(ctx, rev, change)
	if err == nil && r.notify != nil {
		r.notify("READY=1")
		r.notify = nil
	}
	return err
}

func newRender(a *app, signals *inject.Signals) *cobra.Command {
	s := sharing{upkeep: upkeep{app: a}, signals: signals}
	cmd := &cobra.Command{
		Use:   "render --dir DIR [flags]",
		Short: "Write the files of a manifest once, and leave them there",
		Long: `Write the files of the manifest to DIR, such as in an init container, and exit. They
are read in DIR/current. A ` + "`roomenv sidecar`" + ` with the same DIR takes them over.

The exit code is 125 if a required value is missing, and nothing is written.`,
		Example: "  roomenv render --dir /secrets/app --group 2000 --wait 60s",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := rendered{make(chan struct{})}
			code, err := s.run(cmd.Context(), c, func() error { return nil })
			if err != nil || code != 0 {
				return exitError{code, err}
			}
			for _, e := range s.runner.Status().Entries {
				if e.Required && e.State != fetch.Current && e.State != runner.StatusDefault {
					return exitError{code: exitFailure} // it was reported
				}
			}
			return nil
		},
	}
	s.flags(cmd)
	durationFlag(cmd.Flags(), &s.config.Wait, "wait", 0, "wait this long for a room that is unreachable (default 0)")
	return cmd
}

// rendered is done when the files are in place.
type rendered struct{ done chan struct{} }

func (r rendered) Apply(context.Context, *runner.Revision, runner.Change) error {
	close(r.done)
	return nil
}

func (r rendered) Suspend(context.Context, error) error { return nil }

func (r rendered) Done() <-chan struct{} { return r.done }

func (r rendered) Stop(cause error) (int, error) {
	if cause != nil {
		return exitFailure, cause
	}
	return 0, nil
}
