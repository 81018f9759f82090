package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
)

// defaultType is the type of a secret without --type.
const defaultType = "application/octet-stream"

func newSecretRequest(a *app) *cobra.Command {
	var q requestOptions
	var address, typ, out string
	cmd := &cobra.Command{
		Use:   "request --from NAME --url U [--type T]",
		Short: "Ask a participant for a secret and print it",
		Long: `Ask a participant for a secret and print it. The room stores the value: the next
request for the same URL and type returns it at once, until you run
` + "`roomenv secret delete-requested`" + `.`,
		Example: `  roomenv secret request --from alice --url https://stripe.com --type text/plain
  roomenv secret request --from alice --url https://git.example.com --type git -o git.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
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
	cmd.Flags().StringVarP(&out, "output", "o", "-", "`file` to write, with mode 0600; - is stdout")
	return cmd
}

func newSecretDeleteRequested(a *app) *cobra.Command {
	var url, typ, delegatedTo string
	cmd := &cobra.Command{
		Use:   "delete-requested --url U [--type T]",
		Short: "Delete a secret that a participant provided",
		Long: `Delete a secret that a participant provided, such as a wrong one: the next request
asks again. A secret that does not exist is not an error.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withSecrets(cmd.Context(), func(ctx context.Context, s *room.Secrets) error {
				if err := s.DeleteRequested(ctx, url, typ, delegatedTo); err != nil {
					return fmt.Errorf("delete the secret for %q: %w", url, err)
				}
				return nil
			})
		},
	}
	requestedFlags(cmd, &url, &typ)
	cmd.Flags().StringVar(&delegatedTo, "delegated-to", "", "`participant` that the secret is stored for")
	return cmd
}

func requestedFlags(cmd *cobra.Command, url, typ *string) {
	cmd.Flags().StringVar(url, "url", "", "what the secret is for: any text, usually a `url`")
	cmd.Flags().StringVar(typ, "type", defaultType, "media `type`, or git for a user name and a password as JSON")
	_ = cmd.MarkFlagRequired("url")
}
