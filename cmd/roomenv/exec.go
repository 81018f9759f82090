package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

func newExec(a *app, signals *inject.Signals) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "exec [-m FILE]... [--room NAME] -- COMMAND [ARG...]",
		Short: "Run a command with the secrets of a manifest in its environment",
		Long: `exec fetches every value that the manifest names, all at once, and runs the
command with them in its environment. Unless all required values are there, the
command is not started.

Without -m the manifest is .env.room in the current folder, or else
roomenv.yaml; neither needs to be there. An inherited variable whose whole value
is a reference (OPENAI_API_KEY=room:secret/openai-api-key) is an entry too.

The exit code is the command's, 128+N when signal N ended it, 127 when there is
no such command, 126 when it cannot be run, 125 when roomenv itself failed.`,
		Example: `  roomenv exec -- agent
  roomenv exec -m .env.room -m .env.staging -- npm start
  OPENAI_API_KEY=room:secret/openai-api-key roomenv exec -- python agent.py`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hint(errors.New("cannot run nothing: no command was given"), "write it after --, as in `roomenv exec -- agent`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			generation, err := a.generation(cmd.Context(), files)
			if err != nil {
				return err
			}
			if err := render.CheckSize(args, generation); err != nil {
				return err
			}
			code, err := inject.Run(cmd.Context(), inject.Command{
				Args:    args,
				Env:     generation.Environ(),
				Stdin:   os.Stdin,
				Stdout:  os.Stdout,
				Stderr:  os.Stderr,
				Signals: signals,
			})
			if err != nil || code != 0 {
				return exitError{code, err}
			}
			return nil
		},
	}
	// Flags after the command are the command's, with or without "--".
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringArrayVarP(&files, "manifest", "m", nil, "manifest to read; repeat to layer, the later one wins")
	a.roomFlag(cmd.Flags())
	return cmd
}

// generation follows the arrows: manifest, fetch, render.
func (a *app) generation(ctx context.Context, files []string) (_ *render.Generation, err error) {
	if len(files) == 0 {
		files = foundManifest()
	}
	m, err := manifest.Load(files, os.Environ())
	if err != nil {
		return nil, err
	}
	source, err := a.rooms()
	if err != nil {
		return nil, err
	}
	rooms := fetch.NewRooms(source.dial)
	defer func() { err = errors.Join(err, rooms.Close(), source.close()) }()
	progress := newProgress(os.Stderr)
	rooms.OAuth, rooms.Observe = m.OAuth, progress.observe
	snapshot, err := fetch.Resolve(ctx, m, rooms)
	progress.close()
	if err != nil {
		return nil, err
	}
	return render.Render(m, snapshot, os.Environ())
}

// foundManifest is the manifest that is used when none is named.
func foundManifest() []string {
	for _, name := range []string{".env.room", "roomenv.yaml"} {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return []string{name}
		}
	}
	return nil
}
