package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/tokenserver"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/runner"
)

// An execution is one run of exec: a runner with the sources of the environment and
// a command.
type execution struct {
	upkeep
	consumer inject.Consumer
	once     bool
	tokens   string // network of the token server; "" starts no server
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
	tokenFile := e.tokenFile() // before it is read
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
			defer e.watch(ctx, tokenFile, e.consumer.Command.Signals)()
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
	e.upkeep.configure()
	e.command, e.consumer.Log = filepath.Base(e.consumer.Command.Args[0]), e.log
	c.Owner = e.consumer.Command.User
	c.Check = func(m *manifest.Manifest) error { return e.checkManifest(m, flags) }
}

// serve answers requests for the status of the command, and those of the command
// itself, until stop is called.
func (e *execution) serve() (stop func(), err error) {
	if err := e.serveStatus(); err != nil || e.tokens == "" {
		return e.closeServers, err
	}
	s, err := tokenserver.Serve(e.tokens, e.runner.Token, e.consumer.Command.User, e.log)
	if err == nil {
		e.servers = append(e.servers, s)
		e.consumer.Command.Env = s.Environ()
	}
	return e.closeServers, err
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
