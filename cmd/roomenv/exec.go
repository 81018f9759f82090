package main

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/tokenserver"
)

func newExec(a *app, signals *inject.Signals) *cobra.Command {
	e := execution{app: a}
	e.consumer.Command = inject.Command{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals}
	var user, stopSignal string
	cmd := &cobra.Command{
		// cobra would add "[flags]" at the end, where flags are the command's.
		DisableFlagsInUseLine: true,

		Use:   "exec [FLAG...] -- COMMAND [ARG...]",
		Short: "Run a command with the secrets of a manifest in its environment",
		Long: `exec fetches every value that the manifest names, all at once, and runs the
command with them in its environment. Unless all required values are there, the
command is not started.

A YAML manifest may have the settings of these flags below exec:, for example
mask: true; a flag wins.

Without -m the manifest is .env.room in the current folder, or else
roomenv.yaml; neither needs to be there. An inherited variable whose whole value
is a reference (OPENAI_API_KEY=room:secret/openai-api-key) is an entry too.

A value that somebody has to provide is waited for, unless it is optional: then
the command starts without it.

While the command runs its values are kept current. A variable that changes
restarts it, files are swapped under it; on_change in a manifest says otherwise,
as a signal or a command to run. ` + "`roomenv status`" + ` shows how they do.

The exit code is the command's, 128+N when signal N ended it, 127 when there is
no such command, 126 when it cannot be run, 125 when roomenv itself failed.`,
		Example: `  roomenv exec -- agent
  roomenv exec -m .env.room -m .env.staging -- npm start
  OPENAI_API_KEY=room:secret/openai-api-key roomenv exec -- python agent.py
  roomenv exec --token-file /run/token --listen 127.0.0.1:9464 -- agent`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hint(errors.New("cannot run nothing: no command was given"), "write it after --, as in `roomenv exec -- agent`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			command := &e.consumer.Command
			if command.User, err = parseUser(user); err != nil {
				return err
			}
			if command.StopSignal, err = parseSignal("--stop-signal "+strconv.Quote(stopSignal), stopSignal); err != nil {
				return err
			}
			command.Args = args
			code, err := e.run(cmd.Context(), cmd.Flags())
			if err != nil || code != 0 {
				return exitError{code, err}
			}
			return nil
		},
	}
	// Flags after the command are the command's, with or without "--".
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringArrayVarP(&e.config.Files, "manifest", "m", nil, "manifest to read; repeat to layer, the later one wins")
	a.roomFlags(cmd.Flags())
	cmd.Flags().StringVar(&e.config.Dir, "dir", "", "folder on a tmpfs for the files (default a new one in $XDG_RUNTIME_DIR/roomenv, /run/roomenv or /dev/shm)")
	cmd.Flags().BoolVar(&e.once, "once", false, "replace roomenv with the command, which then has its PID")
	cmd.Flags().BoolVar(&e.config.Policy.Pristine, "pristine", false, "inherit only the variables that the manifest names")
	cmd.Flags().StringArrayVar(&e.config.Policy.Strip, "strip", nil, "variable not to inherit, such as MESHAGENT_TOKEN; repeatable")
	cmd.Flags().StringArrayVar(&e.config.Policy.Allow, "allow", nil, "variable that decides what code runs, such as PATH, and may come from a room; repeatable")
	cmd.Flags().StringVar(&user, "user", "", "run the command as UID, UID:GID or a user's name")
	cmd.Flags().BoolVar(&e.consumer.Command.NoNewPrivs, "no-new-privs", false, "let nothing that the command runs gain privileges")
	cmd.Flags().StringVar(&stopSignal, "stop-signal", "", "what the command gets when roomenv gets SIGTERM (default TERM)")
	cmd.Flags().DurationVar(&e.consumer.Command.StopTimeout, "stop-timeout", 0, "kill the command and its group this long after SIGTERM (default never; 10s with --stop-signal)")
	cmd.Flags().BoolVar(&e.consumer.Mask, "mask", false, "show fetched values as [NAME] in what the command prints")
	cmd.Flags().BoolVar(&e.consumer.Supervisor.RestartOnFailure, "restart-on-failure", false, "start a command again that ends with another code than 0")
	cmd.Flags().StringVar(&e.listen, "listen", "", "serve Prometheus metrics, /healthz and /readyz on this `ADDR`ess, as 127.0.0.1:9090")
	cmd.Flags().StringVar(&e.tokens, "token-server", "", "serve current OAuth tokens to the command, over `NETWORK` tcp (loopback) or unix (default none; tcp without a value)")
	cmd.Flags().Lookup("token-server").NoOptDefVal = tokenserver.TCP
	for _, flag := range []string{"restart-on-failure", "listen", "token-server", "mask", "stop-signal", "stop-timeout"} {
		cmd.MarkFlagsMutuallyExclusive("once", flag)
	}
	return cmd
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
