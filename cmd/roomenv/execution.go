package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"

	"golang.org/x/term"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/filewatch"
	"github.com/roomenv/roomenv/internal/mask"
	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/internal/tokenserver"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

// An execution is one run of exec. It follows the arrows: manifest, fetch,
// render, inject.
type execution struct {
	*app
	files    []string // of the manifest
	manifest *manifest.Manifest
	policy   render.Policy
	dir      string
	once     bool
	masked   bool
	listen   string         // where metrics and health are; "" is nowhere
	endpoint string         // the network of the token endpoint; "" is none
	command  inject.Command // without what a generation brings

	supervisor inject.Supervisor

	// What files were before they were read.
	manifestFiles, tokenFile *filewatch.Files

	folder      *tmpfs.Dir
	directories int // that were written to folder
	tokens      *tokenserver.Server

	maskedValues [][]mask.Secret // of each generation
}

// run returns the exit code.
func (e *execution) run(ctx context.Context) (_ int, err error) {
	if e.once && len(e.manifest.Files) > 0 {
		return exitFailure, errOnceFiles
	}
	if e.folder, err = openFolder(e.manifest, e.dir, e.command.User); err != nil {
		return exitFailure, err
	}
	defer func() { e.closeFolder(e.folder) }()
	if e.masked {
		if err := e.mask(); err != nil {
			return exitFailure, err
		}
	}
	source, err := e.rooms()
	if err != nil {
		return exitFailure, err
	}
	e.command.Signals.OnSuspend(source.suspend)
	rooms := roomsource.New(source.dial)
	leave := sync.OnceValue(func() error { return errors.Join(rooms.Close(), source.close()) })
	defer func() { _ = leave() }()
	snapshot, err := e.resolve(ctx, rooms)
	if err != nil {
		return exitFailure, err
	}
	if e.once || !refers(e.manifest) {
		if err := leave(); err != nil {
			return exitFailure, err
		}
		return e.runOnce(ctx, snapshot)
	}
	k := newKeeper(e, rooms, snapshot)
	if err := k.serve(); err != nil {
		return exitFailure, err
	}
	defer k.close()
	first, err := e.release(snapshot)
	if err != nil {
		return exitFailure, err
	}
	e.warnExpanded()
	return k.run(ctx, first)
}

// runOnce runs the command with values that nobody keeps current.
func (e *execution) runOnce(ctx context.Context, snapshot *fetch.Snapshot) (int, error) {
	r, err := e.release(snapshot)
	if err != nil {
		return exitFailure, err
	}
	defer r.close()
	e.warnExpanded()
	if e.once {
		return inject.Exec(ctx, r.command)
	}
	return e.supervisor.Run(ctx, r.command, nil)
}

// refers reports whether anything in m comes from a room.
func refers(m *manifest.Manifest) bool {
	for range targets(m) {
		return true
	}
	return false
}

// resolve fetches all values and shows whom it waits for.
func (e *execution) resolve(ctx context.Context, rooms *roomsource.Source) (*fetch.Snapshot, error) {
	progress := newProgress(os.Stderr)
	defer progress.close()
	rooms.OnRequest = func(p roomsource.RequestStatus) {
		progress.observe(p)
		if p.Err != nil {
			e.log.Info("a value was not provided", "reference", p.Target, "error", p.Err)
		}
	}
	return fetch.Resolve(ctx, e.manifest, fetch.Mux{manifest.SchemeRoom: rooms})
}

// A release is one generation as the command gets it.
type release struct {
	number     int
	directory  int // number of the directory with its files
	generation *render.Result
	digest     *render.Digest // nil: nobody compares it
	command    inject.Command
}

// release renders a snapshot and puts its files where the command finds them.
func (e *execution) release(snapshot *fetch.Snapshot) (*release, error) {
	generation, err := e.render(snapshot)
	if err != nil {
		return nil, err
	}
	return e.install(generation, true)
}

func (e *execution) render(snapshot *fetch.Snapshot) (*render.Result, error) {
	generation, err := e.policy.Render(e.manifest, snapshot, os.Environ(), e.folder.Current())
	if err == nil {
		err = render.CheckSize(e.command.Args, generation)
	}
	return generation, err
}

// install makes a release of a generation. What is to be masked is known before
// anybody can read it.
func (e *execution) install(generation *render.Result, files bool) (*release, error) {
	r := &release{number: 1, generation: generation, command: e.command}
	if e.masked {
		e.maskMore(generation.Secrets)
	}
	if files {
		e.directories++
		r.directory = e.directories
		if err := e.folder.Write(r.directory, generation.Files); err != nil {
			return nil, err
		}
	}
	var err error
	r.command.ExtraFiles, err = tmpfs.Memfds(generation.Files, e.command.User)
	r.command.Env = generation.Environ()
	if e.tokens != nil {
		r.command.Env = append(r.command.Env, e.tokens.Environ()...)
	}
	return r, err
}

// close lets go of what only a command has that is yet to be started.
func (r *release) close() { tmpfs.CloseAll(r.command.ExtraFiles) }

func (e *execution) warnExpanded() {
	if term.IsTerminal(2) && expandedBefore(e.command.Args, e.manifest, os.Getenv) {
		e.log.Warn("an argument is empty: the shell puts in the value of $NAME before roomenv sets it; write sh -c '... $NAME ...'")
	}
}

// expandedBefore reports whether args look as if a shell had put the empty value
// of a variable in them that the manifest is to set: it sees $NAME first. A bare
// echo is what is left of `echo $NAME`.
func expandedBefore(args []string, m *manifest.Manifest, getenv func(string) string) bool {
	if !slices.Contains(args, "") && !slices.Equal(args, []string{"echo"}) {
		return false
	}
	return slices.ContainsFunc(m.Entries, func(e manifest.Entry) bool { return getenv(e.Name) == "" })
}
