package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func newSecret(a *app) *cobra.Command {
	cmd := group("secret", "List, get, set, delete and request secrets of the room",
		newSecretList(a), newSecretGet(a), newSecretSet(a), newSecretExists(a), newSecretDelete(a),
		newSecretRequest(a), newSecretDeleteRequested(a))
	a.roomFlags(cmd.PersistentFlags())
	return cmd
}

func newSecretList(a *app) *cobra.Command {
	// A secret is what --json prints of one.
	type secret struct {
		ID          string  `json:"id"`
		Type        string  `json:"type"`
		Name        string  `json:"name"`
		DelegatedTo *string `json:"delegated_to"` // null: not delegated
		DelegatedBy *string `json:"delegated_by"` // null: this identity has it
	}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the secrets of this identity, without their values",
		Long: `List the secrets of this identity and, in a room that lists them, those that other
participants delegated to it, without their values.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSecrets(cmd.Context(), func(ctx context.Context, s *room.Secrets) error {
				list, err := s.List(ctx)
				if err != nil {
					return fmt.Errorf("list secrets: %w", err)
				}
				nullable := func(s string) *string {
					if s == "" {
						return nil
					}
					return &s
				}
				rows := [][]string{{"ID", "TYPE", "NAME", "DELEGATED TO", "DELEGATED BY"}}
				all := make([]secret, len(list))
				for i, s := range list {
					rows = append(rows, []string{s.ID, s.Type, s.Name, s.DelegatedTo, s.DelegatedBy})
					all[i] = secret{s.ID, s.Type, s.Name, nullable(s.DelegatedTo), nullable(s.DelegatedBy)}
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), all, "  ")
				}
				return printTable(cmd.OutOrStdout(), rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of {id, type, name, delegated_to, delegated_by}")
	return cmd
}

// oneSecret completes a command about the secret that its one argument names.
func (a *app) oneSecret(cmd *cobra.Command, delegatedTo *string, do func(ctx context.Context, s *room.Secrets, id string) error) *cobra.Command {
	cmd.Args = exactlyOneID
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withSecrets(cmd.Context(), func(ctx context.Context, s *room.Secrets) error { return do(ctx, s, args[0]) })
	}
	cmd.Flags().StringVar(delegatedTo, "delegated-to", "", "`participant` that the secret is delegated to")
	return cmd
}

func newSecretGet(a *app) *cobra.Command {
	var out, delegatedTo, delegatedBy string
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Print the value of a secret",
		Long:  "Print the value of a secret unchanged. The exit code is 1 if the secret does not exist.",
		Example: `  roomenv secret get openai-api-key
  roomenv secret get tls-key -o key.pem`,
	}
	cmd.Flags().StringVarP(&out, "output", "o", "-", "`file` to write, with mode 0600; - is stdout")
	cmd.Flags().StringVar(&delegatedBy, "delegated-by", "", "`participant` who delegated the secret to this identity")
	return a.oneSecret(cmd, &delegatedTo, func(ctx context.Context, s *room.Secrets, id string) error {
		found, err := s.Get(ctx, room.SecretQuery{ID: id, DelegatedTo: delegatedTo, DelegatedBy: delegatedBy})
		if err != nil {
			return secretError("get", id, err)
		}
		return writeValue(cmd.OutOrStdout(), out, found.Value)
	})
}

func newSecretSet(a *app) *cobra.Command {
	var text, encoded, file string
	var s room.NewSecret
	cmd := &cobra.Command{
		Use:   "set ID (--from-file FILE|- | --text TEXT | --base64 BASE64)",
		Short: "Store a secret, or replace its value",
		Long: `Store a value unchanged: nothing is added or stripped. Other users of this machine
can see a value in --text or --base64 while the command runs; use --from-file - to
read it from stdin.`,
		Example: `  pass show openai | roomenv secret set openai-api-key --from-file -
  roomenv secret set tls-key --from-file key.pem --type application/x-pem-file
  roomenv secret set greeting --text hello`,
		Args: exactlyOneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			switch {
			case cmd.Flags().Changed("text"):
				s.Value = secret.New([]byte(text))
			case cmd.Flags().Changed("base64"):
				s.Value, err = decode(encoded)
			default:
				s.Value, err = readValue(cmd.InOrStdin(), file)
			}
			if err != nil {
				return err
			}
			s.ID = args[0]
			return a.withSecrets(cmd.Context(), func(ctx context.Context, secrets *room.Secrets) error {
				return secretError("set", s.ID, secrets.Set(ctx, s))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "from-file", "", "`file` with the value; - is stdin")
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "in" { // its former name
			name = "from-file"
		}
		return pflag.NormalizedName(name)
	})
	f.StringVar(&text, "text", "", "the value as `text`")
	f.StringVar(&encoded, "base64", "", "the value in `base64`")
	mayBeEmpty(f, "text", "base64")
	cmd.MarkFlagsOneRequired("from-file", "text", "base64")
	cmd.MarkFlagsMutuallyExclusive("from-file", "text", "base64")
	f.StringVar(&s.Type, "type", "", "media `type` (default application/octet-stream)")
	f.StringVar(&s.Name, "name", "", "display `name` (default the ID)")
	f.StringVar(&s.DelegatedTo, "delegated-to", "", "`participant` to delegate the secret to")
	f.StringVar(&s.ForIdentity, "for-identity", "", "store for this `identity` (other identities need an admin token)")
	return cmd
}

func newSecretExists(a *app) *cobra.Command {
	var query room.ExistsQuery
	cmd := &cobra.Command{
		Use:   "exists ID",
		Short: "Check whether a secret exists",
		Long:  "Print true or false. The exit code is 1 if the secret does not exist.",
	}
	cmd.Flags().StringVar(&query.ForIdentity, "for-identity", "", "`identity` that has the secret (other identities need an admin token)")
	return a.oneSecret(cmd, &query.DelegatedTo, func(ctx context.Context, s *room.Secrets, id string) error {
		query.ID = id
		exists, err := s.Exists(ctx, query)
		if err != nil {
			return secretError("check", id, err)
		}
		fmt.Fprintln(cmd.OutOrStdout(), exists)
		if !exists {
			return exitError{code: exitAbsent}
		}
		return nil
	})
}

func newSecretDelete(a *app) *cobra.Command {
	var delegatedTo, identity string
	cmd := &cobra.Command{
		Use:   "delete ID",
		Short: "Delete a secret",
		Long:  "Delete a secret. The exit code is 1 if the secret does not exist.",
		PreRunE: func(*cobra.Command, []string) error {
			switch {
			case identity == "":
			case a.hasToken():
				// delete_secret has no for_identity.
				return hint(errors.New("--for-identity: a room deletes secrets of the identity in the token alone"),
					fmt.Sprintf("use a token of %q, or MESHAGENT_API_KEY instead of the token", identity))
			default:
				a.env.Identity = identity
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&identity, "for-identity", "", "delete that of this `identity` (not with a token)")
	return a.oneSecret(cmd, &delegatedTo, func(ctx context.Context, s *room.Secrets, id string) error {
		return secretError("delete", id, s.Delete(ctx, id, delegatedTo))
	})
}

var (
	exactlyOneID     = exactlyOne("the ID of one secret")
	exactlyOneClient = exactlyOne("the name of one OAuth client")
)

// exactlyOne wants one argument, which is what.
func exactlyOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return hint(fmt.Errorf("%s: want %s", cmd.Name(), what), "see `"+cmd.CommandPath()+" --help`")
		}
		return nil
	}
}

// secretError names the secret and what was to be done with it. Not found has an exit
// code of its own.
func secretError(verb, id string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, room.ErrNotFound):
		return exitError{exitAbsent, hint(fmt.Errorf("%s secret %q: not found", verb, id),
			"run `roomenv secret list`; a delegated secret needs --delegated-to or --delegated-by")}
	case errors.Is(err, room.ErrConflict):
		return hint(fmt.Errorf("%s secret %q: %w", verb, id, err), "name the participant who delegated it with --delegated-by")
	}
	return fmt.Errorf("%s secret %q: %w", verb, id, err)
}
