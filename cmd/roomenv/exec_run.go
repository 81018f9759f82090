package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/filewatch"
	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/internal/tokenserver"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/runner"
)

// An execution is one run of exec: a runner with the sources of the environment and
// a command.
type execution struct {
	*app
	config   runner.Config
	consumer inject.Consumer
	once     bool
	listen   string // address of metrics and health; "" serves neither
	tokens   string // network of the token server; "" starts no server

	runner   *runner.Runner
	rooms    atomic.Pointer[roomSource] // nil: not open
	progress *progress
	notify   func(report string) // to the service manager; nil without one
}

// run returns the exit code.
func (e *execution) run(ctx context.Context, flags *pflag.FlagSet) (_ int, err error) {
	e.configure(flags)
	if !e.once {
		leave, err := e.joinService()
		if err != nil {
			return exitFailure, err
		}
		defer leave()
	}
	tokenFile := filewatch.New()
	if e.env.TokenFile != "" {
		tokenFile = filewatch.New(e.env.TokenFile) // before it is read
	}
	if e.runner, err = runner.New(e.config); err != nil {
		return exitFailure, err
	}
	// The exit code is the command's whether this succeeds or not.
	leave := sync.OnceValue(e.runner.Close)
	defer func() {
		if err := leave(); err != nil {
			e.log.Warn("closing failed", "error", err)
		}
	}()
	if err := e.applySettings(e.runner.Manifest(), flags); err != nil {
		return exitFailure, err
	}
	e.progress = newProgress(os.Stderr)
	showNothing := sync.OnceFunc(e.progress.close)
	defer showNothing()
	if !e.once {
		// Before values are there: they may take as long as a person does.
		stop, err := e.serve()
		defer stop()
		if err != nil {
			return exitFailure, err
		}
		if e.runner.HasReferences() {
			var watching sync.WaitGroup
			defer watching.Wait()
			watch, cancel := context.WithCancel(ctx)
			defer cancel()
			watching.Go(func() { tokenFile.Watch(watch, e.runner.Reconnect) })
			watching.Go(func() { e.refreshOnHangup(watch) })
		}
	}
	result, err := e.runner.Resolve(ctx)
	showNothing()
	if err != nil {
		return exitFailure, err
	}
	if e.once {
		if err := errors.Join(render.CheckSize(e.consumer.Command.Args, result), leave()); err != nil {
			return exitFailure, err
		}
		e.warnExpanded()
		e.consumer.Command.Env = result.Environ()
		return inject.Exec(ctx, e.consumer.Command)
	}
	e.warnExpanded()
	return e.runner.Run(ctx, &e.consumer)
}

// configure completes what flags have set.
func (e *execution) configure(flags *pflag.FlagSet) {
	c := &e.config
	if len(c.Files) == 0 {
		c.Files = findManifest()
	}
	c.Sources = runner.Sources{manifest.SchemeRoom: e.openRooms}
	c.Owner = e.consumer.Command.User
	c.Check = func(m *manifest.Manifest) error { return e.checkManifest(m, flags) }
	c.Log, e.consumer.Log = e.log, e.log
	c.OnError = func(err error) { e.printError(os.Stderr, err) }
}

// A roomSource is where values of rooms come from.
type roomSource struct {
	*roomsource.Source
	rooms *roomDialer
}

func (s *roomSource) Close() error { return errors.Join(s.Source.Close(), s.rooms.close()) }

func (e *execution) openRooms() (fetch.Source, error) {
	rooms, err := e.dialer()
	if err != nil {
		return nil, err
	}
	s := &roomSource{roomsource.New(rooms.dial), rooms}
	s.OnRequest = func(p roomsource.RequestStatus) {
		e.progress.observe(p)
		if e.notify != nil && p.Stage != roomsource.Done {
			e.notify(fmt.Sprintf("STATUS=Waiting for %s\nEXTEND_TIMEOUT_USEC=%d", text.Printable(p.From, 0), time.Until(p.Deadline).Microseconds()))
		}
		if p.Err != nil {
			e.log.Info("request failed", "reference", p.Target, "error", p.Err)
		}
	}
	e.rooms.Store(s)
	return s, nil
}

func (e *execution) refreshOnHangup(ctx context.Context) {
	for {
		select {
		case <-e.consumer.Command.Signals.Hangup:
			e.runner.Refresh()
		case <-ctx.Done():
			return
		}
	}
}

// serve answers requests for the status of the command, and those of the command
// itself, until stop is called.
func (e *execution) serve() (stop func(), err error) {
	var closers []interface{ Close() error }
	stop = func() {
		for _, c := range closers {
			if err := c.Close(); err != nil {
				e.log.Warn("closing server failed", "error", err)
			}
		}
	}
	if s, err := status.Serve(e.status, e.runner.Refresh, e.log); err != nil {
		e.log.Warn("status socket unavailable", "error", err)
	} else {
		closers = append(closers, s)
	}
	if e.listen != "" {
		s, err := status.Listen(e.listen, e.status, e.log)
		if err != nil {
			return stop, err
		}
		closers = append(closers, s)
	}
	if e.tokens != "" {
		s, err := tokenserver.Serve(e.tokens, e.runner.Token, e.consumer.Command.User, e.log)
		if err != nil {
			return stop, err
		}
		closers = append(closers, s)
		e.consumer.Command.Env = s.Environ()
	}
	return stop, nil
}

// status is that of the runner, with what it does not know of rooms.
func (e *execution) status() runner.Status {
	s := e.runner.Status()
	s.Command = filepath.Base(e.consumer.Command.Args[0]) // also before it is started
	var names []string
	for _, room := range s.Rooms {
		if name := cmp.Or(room, e.roomName()); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	s.Rooms = names
	for i := range s.Disconnected {
		o := &s.Disconnected[i]
		o.Room = cmp.Or(o.Room, e.roomName())
	}
	if rooms := e.rooms.Load(); rooms != nil {
		s.RoomRequests = int(rooms.Requests())
	}
	return s
}

func (e *execution) warnExpanded() {
	if term.IsTerminal(2) && expandedByShell(e.consumer.Command.Args, e.runner.Manifest(), os.Getenv) {
		e.config.OnError(hint(errors.New("an argument is empty: the shell expands $NAME before roomenv sets it"), "write sh -c '... $NAME ...'"))
	}
}

// expandedByShell reports whether args look as if a shell had expanded a variable in
// them that is unset there and set by the manifest. A bare echo is what is left of
// `echo $NAME`.
func expandedByShell(args []string, m *manifest.Manifest, getenv func(string) string) bool {
	if !slices.Contains(args, "") && !slices.Equal(args, []string{"echo"}) {
		return false
	}
	return slices.ContainsFunc(m.Entries, func(e manifest.Entry) bool { return getenv(e.Name) == "" })
}
