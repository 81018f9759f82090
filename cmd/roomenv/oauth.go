package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func newOAuth(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "oauth",
		Short: "Get OAuth access tokens through the room",
		Args:  cobra.NoArgs,
		RunE:  help,
	}
	a.roomFlag(cmd.PersistentFlags())
	cmd.AddCommand(newOAuthRequest(a), newOAuthToken(a))
	return cmd
}

func newOAuthRequest(a *app) *cobra.Command {
	var q asking
	var client oauthClient
	cmd := &cobra.Command{
		Use:   "request CLIENT --from NAME",
		Short: "Ask a participant to sign in at a provider, and print the access token",
		Long: `request prints an access token of the client: one that the room has already,
refreshed where it has to be, or else one for which the participant signs in.
` + aboutClient,
		Example: `  roomenv oauth request github --from alice
  roomenv oauth request github --from alice --client-id Iv1.abc \
    --authorization-endpoint https://github.com/login/oauth/authorize \
    --token-endpoint https://github.com/login/oauth/access_token \
    --redirect-uri http://127.0.0.1:8765/callback --scopes repo`,
		Args: oneClient,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client.describe(cmd, args[0]); err != nil {
				return err
			}
			return a.withRoom(cmd.Context(), func(*room.Config) {}, func(c *room.Client) error {
				return q.run(cmd.Context(), c, func(ctx context.Context, id string) error {
					token, err := c.Secrets().RequestOAuthToken(ctx, room.OAuthRequest{
						ParticipantID: id,
						OAuth:         &client.OAuth,
						RedirectURI:   client.redirectURI,
						DelegateTo:    q.delegateTo,
					})
					if err != nil {
						return q.refused(fmt.Sprintf("an access token of %q", args[0]), err)
					}
					return printToken(cmd, token)
				})
			})
		},
	}
	q.flags(cmd)
	client.flags(cmd)
	cmd.Flags().StringVar(&client.redirectURI, "redirect-uri", "", "where the provider sends the browser back to; on loopback `roomenv requests` waits there")
	return cmd
}

func newOAuthToken(a *app) *cobra.Command {
	var client oauthClient
	var query room.OfflineOAuthQuery
	cmd := &cobra.Command{
		Use:   "token CLIENT",
		Short: "Print an access token that the room has, without asking anyone",
		Long: `token prints an access token that was authorized before, refreshed where it has
to be. It exits with 1 when there is none.
` + aboutClient,
		Args: oneClient,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client.describe(cmd, args[0]); err != nil {
				return err
			}
			query.OAuth = &client.OAuth
			return a.withSecrets(cmd.Context(), func(s *room.Secrets) error {
				token, err := s.OfflineOAuthToken(cmd.Context(), query)
				switch {
				case errors.Is(err, room.ErrNotFound):
					return exitError{exitAbsent, hint(fmt.Errorf("cannot get an access token of %q: the room has none", args[0]),
						"ask someone to sign in with `roomenv oauth request "+args[0]+" --from NAME`")}
				case err != nil:
					return fmt.Errorf("cannot get an access token of %q: %w", args[0], err)
				}
				return printToken(cmd, token)
			})
		},
	}
	client.flags(cmd)
	cmd.Flags().StringVar(&query.DelegatedTo, "delegated-to", "", "participant that the token is for (default this identity)")
	cmd.Flags().StringVar(&query.DelegatedBy, "delegated-by", "", "participant who signed in (default this identity)")
	return cmd
}

const aboutClient = `CLIENT is a name under oauth: in the manifest. Flags win over what is there, and
describe a client that is in no manifest.`

// oauthClient is a client of a provider, from a manifest and from flags.
type oauthClient struct {
	room.OAuth
	redirectURI string
}

func (c *oauthClient) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.ClientID, "client-id", "", "id of the client at the provider")
	f.StringVar(&c.AuthorizationEndpoint, "authorization-endpoint", "", "`URL` of the provider's consent page")
	f.StringVar(&c.TokenEndpoint, "token-endpoint", "", "`URL` where the room gets tokens")
	f.StringSliceVar(&c.Scopes, "scopes", nil, "what the token may be used for, separated by commas")
	f.BoolVar(&c.NoPKCE, "no-pkce", false, "for a provider that does not know PKCE")
}

// describe completes what the flags say.
func (c *oauthClient) describe(_ *cobra.Command, name string) error {
	if c.ClientID == "" || c.AuthorizationEndpoint == "" || c.TokenEndpoint == "" {
		return hint(fmt.Errorf("cannot tell what the OAuth client %q is", name),
			"give --client-id, --authorization-endpoint and --token-endpoint")
	}
	return nil
}

func oneClient(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return hint(fmt.Errorf("cannot %s: give the name of one OAuth client", cmd.Name()), "see `"+cmd.CommandPath()+" --help`")
	}
	return nil
}

func printToken(cmd *cobra.Command, token secret.Value) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", token.Reveal())
	return err
}
