// Command roomenv runs a command with the secrets of a MeshAgent room in its
// environment. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/inject"
)

func main() {
	// Before anything else: until then, other processes of the user can read the keys
	// in the environment.
	if err := harden(); err != nil {
		os.Exit(new(app).report(os.Stderr, fmt.Errorf("disable core dumps and ptrace: %w", err)))
	}
	// Caught from the first moment to the last: a signal that comes before the
	// child exists must not be lost, and one that comes after its end must not
	// cost its exit code.
	ctx, signals := inject.NotifySignals(context.Background())
	os.Exit(run(ctx, signals, os.Args[1:]))
}

func run(ctx context.Context, signals *inject.Signals, args []string) int {
	var a app
	root := newRoot(&a, signals)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		err = unknownCommand(cmd, cmd.Flags().Args()) // with --help
	}
	var interrupted inject.SignalError
	if err != nil && (errors.As(context.Cause(ctx), &interrupted) || errors.As(err, &interrupted)) {
		return interrupted.ExitCode() // the sender of the signal knows why
	}
	var stderr io.Writer = os.Stderr
	if log := openTerminationLog(cmd); log != nil {
		defer log.Close()
		stderr = io.MultiWriter(stderr, log)
	}
	return a.report(stderr, err)
}

func newRoot(a *app, signals *inject.Signals) *cobra.Command {
	a.signals = signals
	root := &cobra.Command{
		Use:   "roomenv",
		Short: "Run a command with the secrets of a room in its environment",
		Long: `Fetch the secrets that a manifest names from a MeshAgent room and run a command
with them in its environment.

If MESHAGENT_ROOM and MESHAGENT_TOKEN are set, roomenv uses that room, at
MESHAGENT_ROOM_URL or MESHAGENT_API_URL. If neither is set it uses a local room,
without a server: its data is in $ROOMENV_DATA, or else in $XDG_DATA_HOME/roomenv, or
else in ~/.local/share/roomenv.`,
		Example: `  roomenv secret set openai-api-key --from-file -
  echo 'OPENAI_API_KEY=room:secret/openai-api-key' > .env.room
  roomenv exec -- agent`,
		Args:              unknownCommand,
		RunE:              help,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.init(cmd) },
	}
	root.SetFlagErrorFunc(flagError)
	a.logFlags(root.PersistentFlags())
	root.AddCommand(
		newExec(a, signals),
		newStatus(a),
		newSidecar(a, signals),
		newRender(a, signals),
		newReady(),
		newInstall(),
		newCompose(a),
		newRefresh(a),
		newSecret(a),
		newOAuth(a),
		newRequests(a),
		newParticipants(a),
		newRoom(a),
		newManifest(),
		newMonitor(signals),
		newOwnPID(signals),
		newVersion(),
	)
	fill(root)
	printHelp := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if unknownCommand(cmd, cmd.Flags().Args()) == nil {
			printHelp(cmd, args)
		}
	})
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND...]",
		Short: "Show the help of a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err := errors.Join(err, unknownCommand(cmd, rest)); err != nil {
				return err
			}
			return cmd.Help()
		},
	})
	return root
}

// group returns a command that only has others below it.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: unknownCommand, RunE: help}
	cmd.AddCommand(commands...)
	return cmd
}

// help is what such a command does. Without a RunE cobra would show help for a
// command that there is not, and exit with 0.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }
