package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
)

// defaultType is the type of a secret when nobody says.
const defaultType = "application/octet-stream"

func newSecretRequest(a *app) *cobra.Command {
	var q requestOptions
	var address, typ, out string
	cmd := &cobra.Command{
		Use:   "request --from NAME --url U [--type T]",
		Short: "Ask a participant for a secret and print its bytes",
		Long: `request asks a participant for a secret, waits for it, and prints its bytes as
they are. The room keeps what was provided: the next request for the same URL
and type is answered at once, until ` + "`roomenv secret delete-requested`" + `.`,
		Example: `  roomenv secret request --from alice --url https://stripe.com --type text/plain
  roomenv secret request --from alice --url https://git.example.com --type git -o git.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := q.check(); err != nil {
				return err
			}
			value, err := a.resolve(cmd.Context(), manifest.Target{
				Scheme: manifest.SchemeRoom, Path: string(manifest.KindRequest) + "/" + q.from,
				Params: q.params("url", address, "type", typ, "delegate_to", q.delegateTo),
			}, fmt.Sprintf("the secret for %q", address))
			if err != nil {
				return err
			}
			return writeValue(cmd.OutOrStdout(), out, value)
		},
	}
	q.flags(cmd)
	_ = cmd.MarkFlagRequired("from")
	requestedFlags(cmd, &address, &typ)
	cmd.Flags().StringVarP(&out, "output", "o", "-", "`FILE` to write, with mode 0600; - is stdout")
	return cmd
}

func newSecretDeleteRequested(a *app) *cobra.Command {
	var url, typ, delegatedTo string
	cmd := &cobra.Command{
		Use:   "delete-requested --url U [--type T]",
		Short: "Forget a secret that was provided for a request",
		Long: `delete-requested makes the room forget a secret that a participant provided, for
example one that turned out wrong: the next request asks again. It is no error
when there is none.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSecrets(cmd.Context(), func(s *room.Secrets) error {
				if err := s.DeleteRequested(cmd.Context(), url, typ, delegatedTo); err != nil {
					return fmt.Errorf("cannot delete the secret for %q: %w", url, err)
				}
				return nil
			})
		},
	}
	requestedFlags(cmd, &url, &typ)
	cmd.Flags().StringVar(&delegatedTo, "delegated-to", "", "participant that the secret is stored for")
	return cmd
}

func requestedFlags(cmd *cobra.Command, url, typ *string) {
	cmd.Flags().StringVar(url, "url", "", "what the secret is for: any text, by custom a URL")
	cmd.Flags().StringVar(typ, "type", defaultType, "media type, or git for a user name and a password as JSON")
	_ = cmd.MarkFlagRequired("url")
}
