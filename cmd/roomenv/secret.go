package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func newSecret(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "secret",
		Short: "List, get, set, delete and ask for secrets of the room",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	a.roomFlag(cmd.PersistentFlags())
	cmd.AddCommand(newSecretList(a), newSecretGet(a), newSecretSet(a), newSecretExists(a), newSecretDelete(a),
		newSecretRequest(a), newSecretDeleteRequested(a))
	return cmd
}

// withSecrets runs do with the secrets of the room that the user chose.
func (a *app) withSecrets(ctx context.Context, do func(*room.Secrets) error) error {
	return a.withRoom(ctx, func(*room.Config) {}, func(c *room.Client) error { return do(c.Secrets()) })
}

// withRoom runs do in the room that the user chose.
func (a *app) withRoom(ctx context.Context, configure func(*room.Config), do func(*room.Client) error) (err error) {
	source, err := a.rooms()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	config := source.config("")
	configure(&config)
	client, err := room.Dial(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return do(client)
}

func newSecretList(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the secrets of this identity, without their values",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSecrets(cmd.Context(), func(s *room.Secrets) error {
				list, err := s.List(cmd.Context())
				if err != nil {
					return fmt.Errorf("cannot list the secrets: %w", err)
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), list)
				}
				return printTable(cmd.OutOrStdout(), list)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of {id, type, name, delegated_to}")
	return cmd
}

func printTable(w io.Writer, list []room.SecretInfo) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTYPE\tNAME\tDELEGATED TO")
	for _, s := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", printable(s.ID), printable(s.Type), printable(s.Name), printable(cmp.Or(s.DelegatedTo, "-")))
	}
	return table.Flush()
}

func printJSON(w io.Writer, list []room.SecretInfo) error {
	infos := make([]wire.SecretInfo, len(list))
	for i, s := range list {
		infos[i] = wire.SecretInfo{ID: s.ID, Type: s.Type, Name: s.Name, DelegatedTo: wire.Nullable(s.DelegatedTo)}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(infos)
}

func newSecretGet(a *app) *cobra.Command {
	var out, delegatedTo string
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Print the bytes of a secret, nothing added",
		Long:  "get prints the bytes of a secret as they are. It exits with 1 when there is no such secret.",
		Example: `  roomenv secret get openai-api-key
  roomenv secret get tls-key -o key.pem`,
		Args: oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSecrets(cmd.Context(), func(s *room.Secrets) error {
				found, err := s.Get(cmd.Context(), room.SecretQuery{ID: args[0], DelegatedTo: delegatedTo})
				if err != nil {
					return failed("get", args[0], err)
				}
				return writeValue(cmd.OutOrStdout(), out, found.Value)
			})
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "-", "`FILE` to write, with mode 0600; - is stdout")
	cmd.Flags().StringVar(&delegatedTo, "delegated-to", "", "participant that the secret is delegated to")
	return cmd
}

// writeValue writes to stdout or replaces the file at path as a whole; pipes
// and devices are written to as they are.
func writeValue(stdout io.Writer, path string, value secret.Value) error {
	if path == "-" {
		_, err := stdout.Write(value.Reveal())
		return err
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("cannot write the secret: %w", err)
		}
		_, err = f.Write(value.Reveal())
		return errors.Join(err, f.Close())
	}
	if err := renameio.WriteFile(path, value.Reveal(), 0o600, renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("cannot write the secret: %w", err)
	}
	return nil
}

func newSecretSet(a *app) *cobra.Command {
	var text, encoded, in string
	var s room.NewSecret
	cmd := &cobra.Command{
		Use:   "set ID (--in FILE|- | --text S | --base64 S)",
		Short: "Store a secret, or replace its value",
		Long: `set stores the bytes given, nothing added and nothing stripped. What is given
with --text or --base64 can be seen by other users of this machine while the
command runs; --in - reads stdin and has no such problem.`,
		Example: `  pass show openai | roomenv secret set openai-api-key --in -
  roomenv secret set tls-key --in key.pem --type application/x-pem-file
  roomenv secret set greeting --text hello`,
		Args: oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			switch {
			case cmd.Flags().Changed("text"):
				s.Value = secret.New([]byte(text))
			case cmd.Flags().Changed("base64"):
				s.Value, err = decode(encoded)
			default:
				s.Value, err = readValue(cmd.InOrStdin(), in)
			}
			if err != nil {
				return err
			}
			s.ID = args[0]
			return a.withSecrets(cmd.Context(), func(secrets *room.Secrets) error {
				return failed("set", s.ID, secrets.Set(cmd.Context(), s))
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&in, "in", "", "`FILE` that holds the value; - is stdin")
	f.StringVar(&text, "text", "", "the value as text")
	f.StringVar(&encoded, "base64", "", "the value in base64")
	cmd.MarkFlagsOneRequired("in", "text", "base64")
	cmd.MarkFlagsMutuallyExclusive("in", "text", "base64")
	f.StringVar(&s.Type, "type", "", "media type (default application/octet-stream)")
	f.StringVar(&s.Name, "name", "", "name for people (default the ID)")
	f.StringVar(&s.DelegatedTo, "delegated-to", "", "participant to delegate the secret to")
	f.StringVar(&s.ForIdentity, "for-identity", "", "identity to store it for; another's needs an admin token")
	return cmd
}

// decode does not wrap the error of the decoder, which quotes its input.
func decode(encoded string) (secret.Value, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return secret.Value{}, hint(errors.New("cannot use the value of --base64: it is not standard base64 with padding"))
	}
	return secret.New(b), nil
}

// readValue refuses what no room would take before it has read it all.
func readValue(stdin io.Reader, path string) (secret.Value, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return secret.Value{}, fmt.Errorf("cannot read the value: %w", err)
		}
		defer f.Close()
		stdin = f
	}
	b, err := io.ReadAll(io.LimitReader(stdin, wire.DefaultMaxMessage+1))
	if err != nil {
		return secret.Value{}, fmt.Errorf("cannot read the value: %w", err)
	}
	if len(b) > wire.DefaultMaxMessage {
		return secret.Value{}, fmt.Errorf("cannot use the value: it is larger than %d MiB", wire.DefaultMaxMessage>>20)
	}
	return secret.New(b), nil
}

func newSecretExists(a *app) *cobra.Command {
	var query room.ExistsQuery
	cmd := &cobra.Command{
		Use:   "exists ID",
		Short: "Tell whether there is a secret",
		Long:  "exists prints true or false, and exits with 1 when there is no such secret.",
		Args:  oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			query.ID = args[0]
			return a.withSecrets(cmd.Context(), func(s *room.Secrets) error {
				exists, err := s.Exists(cmd.Context(), query)
				if err != nil {
					return failed("look for", query.ID, err)
				}
				fmt.Fprintln(cmd.OutOrStdout(), exists)
				if !exists {
					return exitError{code: exitAbsent}
				}
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&query.DelegatedTo, "delegated-to", "", "participant that the secret is delegated to")
	cmd.Flags().StringVar(&query.ForIdentity, "for-identity", "", "identity that has it; another's needs an admin token")
	return cmd
}

func newSecretDelete(a *app) *cobra.Command {
	var delegatedTo string
	cmd := &cobra.Command{
		Use:   "delete ID",
		Short: "Delete a secret",
		Long:  "delete removes a secret. It exits with 1 when there is no such secret.",
		Args:  oneID,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSecrets(cmd.Context(), func(s *room.Secrets) error {
				return failed("delete", args[0], s.Delete(cmd.Context(), args[0], delegatedTo))
			})
		},
	}
	cmd.Flags().StringVar(&delegatedTo, "delegated-to", "", "participant that the secret is delegated to")
	return cmd
}

func oneID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return hint(fmt.Errorf("cannot %s: give the ID of one secret", cmd.Name()), "see `"+cmd.CommandPath()+" --help`")
	}
	return nil
}

// failed says what could not be done. A missing secret is an answer, with an
// exit code of its own.
func failed(verb, id string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, room.ErrNotFound):
		return exitError{exitAbsent, hint(fmt.Errorf("cannot %s the secret %q: it is not in the room", verb, id),
			"`roomenv secret list` shows what is there; a delegated secret needs --delegated-to")}
	}
	return fmt.Errorf("cannot %s the secret %q: %w", verb, id, err)
}
