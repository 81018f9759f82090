package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func newRequestsAnswer(a *app) *cobra.Command {
	var source valueSource
	var code, reason string
	cmd := &cobra.Command{
		Use:   "answer ID (--from-file FILE|- | --from-command COMMAND | --code CODE | --reject REASON)",
		Short: "Answer one request",
		Long: `Answer the request with the ID that ` + "`roomenv requests`" + ` printed. The exit code is
1 if the request is not found or already closed.

--code is for an authorization request: the authorization code in the redirect URL.
The value for a request of the type git is {"username": …, "password": …}.`,
		Example: `  pass show stripe | roomenv requests answer ID --from-file -
  roomenv requests answer ID --reject 'ask the finance team'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return hint(errors.New("missing request ID"), "copy it from the output of `roomenv requests`")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			id, ctx := args[0], cmd.Context()
			var answer func(context.Context, *room.Secrets) error
			switch {
			case cmd.Flags().Changed("reject"):
				answer = func(ctx context.Context, s *room.Secrets) error { return rejectEither(ctx, s, id, reason) }
			case cmd.Flags().Changed("code"):
				answer = func(ctx context.Context, s *room.Secrets) error {
					return s.ProvideAuthorization(ctx, id, secret.New([]byte(code)))
				}
			default:
				value, err := source.value(ctx)
				if err != nil {
					return err
				}
				answer = func(ctx context.Context, s *room.Secrets) error { return s.Provide(ctx, id, value) }
			}
			return a.withSecrets(ctx, func(ctx context.Context, s *room.Secrets) error {
				switch err := answer(ctx, s); {
				case errors.Is(err, room.ErrNotFound):
					return exitError{exitAbsent, hint(fmt.Errorf("answer request %q: request not found or already closed", id),
						"check that it is a request to this identity, and of the kind of the answer")}
				case err != nil:
					return fmt.Errorf("answer request %q: %w", id, err)
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	source.flags(f)
	f.StringVar(&code, "code", "", "authorization `code` that the provider redirected with")
	f.StringVar(&reason, "reject", "", "reject the request with this `reason`")
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
