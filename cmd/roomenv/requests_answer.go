package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func newRequestsAnswer(a *app) *cobra.Command {
	var source valueSource
	var code, reason string
	cmd := &cobra.Command{
		Use:   "answer ID (--from-file FILE|- | --from-command C | --code CODE | --reject REASON)",
		Short: "Answer one request",
		Long: `answer answers the request with that ID, of which ` + "`roomenv requests`" + ` told, from
a connection of its own. It exits with 1 when the request does not wait for an
answer any more.

--code is for a request to sign in: the code that the provider redirected with.
The value for a request of the type git is {"username": …, "password": …}.`,
		Example: `  pass show stripe | roomenv requests answer ID --from-file -
  roomenv requests answer ID --reject 'ask the finance team'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return hint(errors.New("cannot answer: give the ID of one request"), "`roomenv requests` prints it")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			id, ctx := args[0], cmd.Context()
			var answer func(*room.Secrets) error
			switch {
			case cmd.Flags().Changed("reject"):
				answer = func(s *room.Secrets) error { return rejectEither(ctx, s, id, reason) }
			case cmd.Flags().Changed("code"):
				answer = func(s *room.Secrets) error {
					return s.ProvideAuthorization(ctx, id, secret.New([]byte(code)))
				}
			default:
				value, err := source.value(ctx)
				if err != nil {
					return err
				}
				answer = func(s *room.Secrets) error { return s.Provide(ctx, id, value) }
			}
			return a.withSecrets(ctx, func(s *room.Secrets) error {
				switch err := answer(s); {
				case errors.Is(err, room.ErrNotFound):
					return exitError{exitAbsent, hint(fmt.Errorf("cannot answer the request %q: it does not wait for an answer", id),
						"it was answered, has expired, is of another kind, or is to another identity")}
				case err != nil:
					return fmt.Errorf("cannot answer the request %q: %w", id, err)
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	source.flags(f)
	f.StringVar(&code, "code", "", "the code that a provider redirected with")
	f.StringVar(&reason, "reject", "", "answer with no, for this `REASON`")
	kinds := []string{"from-file", "from-command", "code", "reject"}
	cmd.MarkFlagsMutuallyExclusive(kinds...)
	cmd.MarkFlagsOneRequired(kinds...)
	return cmd
}

// rejectEither rejects a request of which only the id is known.
func rejectEither(ctx context.Context, s *room.Secrets, id, reason string) error {
	err := s.Reject(ctx, id, reason)
	if errors.Is(err, room.ErrNotFound) {
		return s.RejectAuthorization(ctx, id, reason)
	}
	return err
}

// A valueSource is where an answer comes from: a file or a command.
type valueSource struct{ file, command string }

func (v *valueSource) flags(f *pflag.FlagSet) {
	f.StringVar(&v.file, "from-file", "", "`FILE` that holds the value; - is stdin")
	f.StringVar(&v.command, "from-command", "", "`COMMAND` of the shell that prints the value; a newline at its end does not count")
}

func (v *valueSource) given() bool { return v.file != "" || v.command != "" }

func (v *valueSource) value(ctx context.Context) (secret.Value, error) {
	if v.command != "" {
		return commandValue(ctx, v.command)
	}
	return readValue(os.Stdin, v.file)
}

// commandValue is what the command prints. It has the terminal, for those that
// ask for a passphrase.
func commandValue(ctx context.Context, command string) (secret.Value, error) {
	failed := func(err error) (secret.Value, error) {
		return secret.Value{}, fmt.Errorf("cannot get the value from the command %q: %w", command, err)
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return failed(err)
	}
	if err := cmd.Start(); err != nil {
		return failed(err)
	}
	b, readErr := io.ReadAll(io.LimitReader(stdout, wire.DefaultMaxMessage+1))
	_ = stdout.Close() // a command that prints more than a secret can be ends
	err = errors.Join(cmd.Wait(), readErr)
	switch {
	case len(b) > wire.DefaultMaxMessage:
		return failed(fmt.Errorf("it prints more than %d MiB", wire.DefaultMaxMessage>>20))
	case err != nil:
		return failed(err)
	}
	if b = bytes.TrimSuffix(b, []byte("\n")); len(b) == 0 {
		return failed(errors.New("it prints nothing"))
	}
	return secret.New(b), nil
}
