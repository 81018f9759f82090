package main

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/sdnotify"
)

// pidVariables hold the PID of the process that a service manager means by the others of
// its variables: sockets that were passed (sd_listen_fds(3)), and the watchdog
// (sd_watchdog_enabled(3)).
var pidVariables = []string{"LISTEN_PID", "WATCHDOG_PID"}

// joinService makes the command what roomenv is to its service manager, if there is one,
// until leave is called.
func (e *execution) joinService() (leave func(), err error) {
	leave = func() {}
	for _, name := range pidVariables {
		if os.Getenv(name) == strconv.Itoa(os.Getpid()) {
			e.consumer.Command.Wrapper = []string{selfPath, ownPID, "--"}
		}
	}
	address := managerAddress()
	if address == "" {
		return leave, nil
	}
	relay, err := sdnotify.Start(address, e.consumer.Command.User, e.log)
	if err != nil {
		return nil, err
	}
	e.config.Environ = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, sdnotify.Variable+"=") })
	e.config.Environ = append(e.config.Environ, sdnotify.Variable+"="+relay.Address())
	e.notify = relay.Notify
	return func() {
		if err := relay.Close(); err != nil {
			e.log.Warn("closing relay failed", "error", err)
		}
	}, nil
}

// managerAddress is that of a service manager that takes reports, or "".
func managerAddress() string {
	address := os.Getenv(sdnotify.Variable)
	if strings.HasPrefix(address, "/") || strings.HasPrefix(address, "@") {
		return address
	}
	return ""
}

// reporter sends reports of roomenv itself to the service manager. It is nil without one.
func (a *app) reporter() func(report string) {
	address := managerAddress()
	if address == "" {
		return nil
	}
	return func(report string) {
		if err := sdnotify.Send(address, report); err != nil {
			a.log.Warn("report to service manager lost", "error", err)
		}
	}
}

const ownPID = "own-pid"

// newOwnPID is for exec alone: the PID of the command is known only in its process.
func newOwnPID(signals *inject.Signals) *cobra.Command {
	return &cobra.Command{
		Use:               ownPID + " -- COMMAND [ARG...]",
		Hidden:            true,
		Args:              cobra.MinimumNArgs(1),
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, args []string) error {
			environ := os.Environ()
			for i, v := range environ {
				name, value, _ := strings.Cut(v, "=")
				if slices.Contains(pidVariables, name) && value == strconv.Itoa(os.Getppid()) {
					environ[i] = name + "=" + strconv.Itoa(os.Getpid())
				}
			}
			// It is compared with the process as well.
			environ = slices.DeleteFunc(environ, func(v string) bool { return strings.HasPrefix(v, "LISTEN_PIDFDID=") })
			code, err := inject.Exec(cmd.Context(), inject.Command{Args: args, Env: environ, Signals: signals})
			return exitError{code, err}
		},
	}
}
