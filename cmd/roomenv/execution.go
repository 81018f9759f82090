package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"

	"golang.org/x/term"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/render/tmpfs"
)

// An execution is one run of exec. It follows the arrows: manifest, fetch,
// render, inject.
type execution struct {
	*app
	manifest     *manifest.Manifest
	policy       render.Policy
	dir          string
	once, masked bool
	command      inject.Command // without what a generation brings

	folder *tmpfs.Dir
	open   []*os.File // the command's, of all generations
}

// run returns the exit code.
func (e *execution) run(ctx context.Context) (_ int, err error) {
	if e.once && len(e.manifest.Files) > 0 {
		return exitFailure, errOnceFiles
	}
	if e.folder, err = openFolder(e.manifest, e.dir, e.command.User); err != nil {
		return exitFailure, err
	}
	defer e.closeFolder(e.folder)
	defer func() { tmpfs.CloseAll(e.open) }()

	source, err := e.rooms()
	if err != nil {
		return exitFailure, err
	}
	rooms := fetch.NewRooms(source.dial)
	leave := sync.OnceValue(func() error { return errors.Join(rooms.Close(), source.close()) })
	defer func() { _ = leave() }()
	snapshot, err := e.resolve(ctx, rooms)
	if err != nil {
		return exitFailure, err
	}
	command, err := e.prepare(snapshot)
	if err != nil {
		return exitFailure, err
	}
	e.warnExpanded()

	if e.once || len(snapshot.Pending()) == 0 {
		if err := leave(); err != nil {
			return exitFailure, err
		}
		if e.once {
			return inject.Exec(ctx, command)
		}
		return inject.Run(ctx, command)
	}
	ctx, stop := context.WithCancel(ctx)
	fresh := make(chan inject.Command)
	var following sync.WaitGroup
	following.Go(func() { e.follow(ctx, rooms, snapshot, fresh) })
	defer following.Wait()
	defer stop()
	return inject.Supervise(ctx, command, fresh)
}

// resolve fetches all values and shows whom it waits for.
func (e *execution) resolve(ctx context.Context, rooms *fetch.Rooms) (*fetch.Snapshot, error) {
	progress := newProgress(os.Stderr)
	defer progress.close()
	rooms.SetOAuth(e.manifest.OAuth)
	rooms.Observe = func(p fetch.Progress) {
		progress.observe(p)
		if p.Err != nil {
			e.log.Info("a value was not provided", "reference", p.Target, "error", p.Err)
		}
	}
	return fetch.Resolve(ctx, e.manifest, rooms)
}

// prepare makes the command of a snapshot, and its files.
func (e *execution) prepare(snapshot *fetch.Snapshot) (inject.Command, error) {
	command := e.command
	generation, err := e.policy.Render(e.manifest, snapshot, os.Environ(), e.folder.Current())
	if err != nil {
		return command, err
	}
	if err := render.CheckSize(command.Args, generation); err != nil {
		return command, err
	}
	if err := e.folder.Write(generation.Files); err != nil {
		return command, err
	}
	if command.ExtraFiles, err = tmpfs.Memfds(generation.Files, command.User); err != nil {
		return command, err
	}
	e.open = append(e.open, command.ExtraFiles...)
	command.Env = generation.Environ()
	if e.masked {
		err = e.mask(&command, generation.Secrets)
	}
	return command, err
}

// follow prepares the command anew for each value that is provided. One that
// cannot be used leaves the command as it is.
func (e *execution) follow(ctx context.Context, rooms *fetch.Rooms, last *fetch.Snapshot, fresh chan<- inject.Command) {
	follower := fetch.Follower{Source: rooms, Log: e.log}
	for snapshot := range follower.Follow(ctx, e.manifest, last) {
		provided := func(t manifest.Target) bool {
			_, ok := snapshot.Value(t)
			return ok
		}
		if !slices.ContainsFunc(last.Pending(), provided) {
			continue
		}
		last = snapshot
		command, err := e.prepare(snapshot)
		if err != nil {
			e.log.Warn("what was provided cannot be used", "error", err)
			continue
		}
		select {
		case fresh <- command:
		case <-ctx.Done():
			return
		}
	}
}

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
