package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/render/tmpfs"
)

func newExec(a *app, signals *inject.Signals) *cobra.Command {
	var (
		files            []string
		policy           render.Policy
		command          = inject.Command{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals}
		dir              string
		user, stopSignal string
		once, masked     bool
	)
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
			var err error
			if command.User, err = parseUser(user); err != nil {
				return err
			}
			if command.StopSignal, err = parseSignal(stopSignal); err != nil {
				return err
			}
			m, err := loadManifest(files)
			if err != nil {
				return err
			}
			if once && len(m.Files) > 0 {
				return errOnceFiles
			}
			folder, err := openFolder(m, dir, command.User)
			if err != nil {
				return err
			}
			defer a.closeFolder(folder)
			generation, err := a.generation(cmd.Context(), m, policy, folder.Current())
			if err != nil {
				return err
			}
			if err := render.CheckSize(args, generation); err != nil {
				return err
			}
			if err := folder.Write(generation.Files); err != nil {
				return err
			}
			if command.ExtraFiles, err = tmpfs.Memfds(generation.Files, command.User); err != nil {
				return err
			}
			defer tmpfs.CloseAll(command.ExtraFiles)
			a.warnExpanded(args, m)
			command.Args, command.Env = args, generation.Environ()
			if masked {
				if err := a.mask(&command, generation.Secrets); err != nil {
					return err
				}
			}
			run := inject.Run
			if once {
				run = inject.Exec
			}
			code, err := run(cmd.Context(), command)
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
	cmd.Flags().StringVar(&dir, "dir", "", "folder on a tmpfs for the files (default a new one in $XDG_RUNTIME_DIR/roomenv, /run/roomenv or /dev/shm)")
	cmd.Flags().BoolVar(&once, "once", false, "replace roomenv with the command, which then has its PID")
	cmd.Flags().BoolVar(&policy.Pristine, "pristine", false, "inherit only the variables that the manifest names")
	cmd.Flags().StringArrayVar(&policy.Strip, "strip", nil, "variable not to inherit, such as MESHAGENT_TOKEN; repeatable")
	cmd.Flags().StringArrayVar(&policy.Allow, "allow", nil, "variable that decides what code runs, such as PATH, and may come from a room; repeatable")
	cmd.Flags().StringVar(&user, "user", "", "run the command as UID, UID:GID or a user's name")
	cmd.Flags().BoolVar(&command.NoNewPrivs, "no-new-privs", false, "let nothing that the command runs gain privileges")
	cmd.Flags().StringVar(&stopSignal, "stop-signal", "", "what the command gets when roomenv gets SIGTERM (default TERM)")
	cmd.Flags().DurationVar(&command.StopTimeout, "stop-timeout", 0, "kill the command and its group this long after SIGTERM (default never; 10s with --stop-signal)")
	cmd.Flags().BoolVar(&masked, "mask", false, "show fetched values as [NAME] in what the command prints")
	cmd.MarkFlagsMutuallyExclusive("once", "mask")
	cmd.MarkFlagsMutuallyExclusive("once", "stop-signal")
	cmd.MarkFlagsMutuallyExclusive("once", "stop-timeout")
	return cmd
}

func loadManifest(files []string) (*manifest.Manifest, error) {
	if len(files) == 0 {
		files = foundManifest()
	}
	return manifest.Load(files, os.Environ())
}

// generation follows the arrows: manifest, fetch, render. The files will be in
// dir.
func (a *app) generation(ctx context.Context, m *manifest.Manifest, policy render.Policy, dir string) (_ *render.Generation, err error) {
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
	return policy.Render(m, snapshot, os.Environ(), dir)
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

func (a *app) warnExpanded(args []string, m *manifest.Manifest) {
	if term.IsTerminal(2) && expandedBefore(args, m, os.Getenv) {
		a.log.Warn("an argument is empty: the shell puts in the value of $NAME before roomenv sets it; write sh -c '... $NAME ...'")
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
