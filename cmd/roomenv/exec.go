package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/tokenserver"
)

func newExec(a *app, signals *inject.Signals) *cobra.Command {
	e := execution{upkeep: upkeep{app: a}}
	e.consumer.Command = inject.Command{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals}
	cmd := &cobra.Command{
		// cobra would add "[flags]" at the end, where flags are the command's.
		DisableFlagsInUseLine: true,

		Use:   "exec [FLAG...] -- COMMAND [ARG...]",
		Short: "Run a command with the secrets of a manifest in its environment",
		Long: `Fetch every value that the manifest names and run the command with them in its
environment. If a required value is missing, the command is not started.

Without -m the manifest is .env.room in the current directory, or else
roomenv.yaml; neither needs to exist. An inherited variable whose whole value is a
reference (OPENAI_API_KEY=room:secret/openai-api-key) is an entry too.

A value that a participant has to provide is waited for. If it is optional, the
command starts without it.

A changed variable restarts the command; changed files are replaced atomically. Use
on_change in the manifest to send a signal or run a hook instead. See
` + "`roomenv status`" + `.

A YAML manifest may set these flags under exec:, for example mask: true; a flag
overrides it.

The exit code is that of the command, 128+N if signal N ended it, 127 if the command
is not found, 126 if it cannot be run, and 125 if roomenv itself fails.`,
		Example: `  roomenv exec -- agent
  roomenv exec -m .env.room -m .env.staging -- npm start
  OPENAI_API_KEY=room:secret/openai-api-key roomenv exec -- python agent.py
  roomenv exec --token-file /run/token --listen 127.0.0.1:9464 -- agent`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return hint(errors.New("missing command"), "add it after `--`: roomenv exec -- COMMAND")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			e.consumer.Command.Args = args
			code, err := e.run(cmd.Context(), cmd.Flags())
			if err != nil || code != 0 {
				return exitError{code, err}
			}
			return nil
		},
	}
	// Flags after the command are the command's, with or without "--".
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	command, policy := &e.consumer.Command, &e.config.Policy
	flags.StringArrayVarP(&e.config.Files, "manifest", "m", nil, "read this manifest `file`; repeat to layer files, later files override earlier ones")
	a.roomFlags(flags)
	flags.StringVar(&e.config.Dir, "dir", "", "`directory` on a tmpfs for the files (default a new one in $XDG_RUNTIME_DIR/roomenv, $RUNTIME_DIRECTORY/roomenv, /run/roomenv or /dev/shm)")
	flags.BoolVar(&e.once, "once", false, "replace roomenv with the command, which then has its PID")
	flags.BoolVar(&policy.Pristine, "pristine", false, "inherit only the variables that the manifest names")
	namesFlag(flags, &policy.Strip, "strip", "do not inherit the variable `name`, such as MESHAGENT_TOKEN (repeatable)", inheritable)
	namesFlag(flags, &policy.Allow, "allow", "allow a room value in the code-loading variable `name`, such as PATH (repeatable)", settable)
	parsedFlag(flags, &command.User, "user", "run the command as this `user`: UID, UID:GID or a name", parseUser)
	flags.BoolVar(&command.NoNewPrivs, "no-new-privs", false, "set no_new_privs for the command (Linux)")
	parsedFlag(flags, &command.StopSignal, "stop-signal", "`signal` sent to the command when roomenv receives SIGTERM (default TERM)", parseSignal)
	durationFlag(flags, &command.StopTimeout, "stop-timeout", 0, "kill the command and its group this long after SIGTERM (default never; 10s with --stop-signal)")
	flags.BoolVar(&e.consumer.Mask, "mask", false, "replace room values by [NAME] in what the command prints")
	flags.BoolVar(&e.consumer.Supervisor.RestartOnFailure, "restart-on-failure", false, "restart the command if it exits with a nonzero code")
	durationFlag(flags, &e.config.Wait, "wait", 0, "wait this long for a room that is unreachable at the start (default 0)")
	flags.StringVar(&e.listen, "listen", "", "serve Prometheus metrics, /healthz and /readyz on `host:port`")
	parsedFlag(flags, &e.tokens, "token-server", "serve current OAuth tokens to the command over this `network`: tcp (loopback) or unix (default none; tcp without a value)", oneOf(tokenserver.TCP, tokenserver.Unix))
	flags.Lookup("token-server").NoOptDefVal = tokenserver.TCP
	for _, flag := range []string{"restart-on-failure", "listen", "token-server", "mask", "stop-signal", "stop-timeout", "dir"} {
		cmd.MarkFlagsMutuallyExclusive("once", flag)
	}
	return cmd
}

// findManifest returns the manifest that is used when -m names none.
func findManifest() []string {
	for _, name := range []string{".env.room", "roomenv.yaml"} {
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return []string{name}
		}
	}
	return nil
}
