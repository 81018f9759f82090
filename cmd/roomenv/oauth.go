package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
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
	var q requestOptions
	var client oauthClient
	cmd := &cobra.Command{
		Use:   "request CLIENT [-m FILE]... [--from NAME]",
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
			if err := client.complete(args[0]); err != nil {
				return err
			}
			if err := q.check(); err != nil {
				return err
			}
			if q.from = cmp.Or(q.from, client.From); q.from == "" {
				return hint(errors.New("cannot tell whom to ask"), "name a participant with --from, or below oauth: in the manifest")
			}
			client.From = q.from
			return client.printToken(cmd, a, q.params("delegated_to", q.delegateTo))
		},
	}
	q.flags(cmd)
	client.flags(cmd)
	cmd.Flags().StringVar(&client.RedirectURI, "redirect-uri", "", "where the provider sends the browser back to; on loopback the one who answers waits there")
	return cmd
}

func newOAuthToken(a *app) *cobra.Command {
	var client oauthClient
	var to, by string
	cmd := &cobra.Command{
		Use:   "token CLIENT [-m FILE]...",
		Short: "Print an access token that the room has, without asking anyone",
		Long: `token prints an access token that was authorized before, refreshed where it has
to be. It exits with 1 when there is none.
` + aboutClient,
		Args: oneClient,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client.complete(args[0]); err != nil {
				return err
			}
			client.From = ""
			err := client.printToken(cmd, a, url.Values{"delegated_to": {to}, "delegated_by": {by}}.Encode())
			if errors.Is(err, fetch.ErrMissing) {
				return exitError{exitAbsent, hint(err, "ask someone to sign in with `roomenv oauth request "+args[0]+" --from NAME`")}
			}
			return err
		},
	}
	client.flags(cmd)
	cmd.Flags().StringVar(&to, "delegated-to", "", "participant that the token is for (default this identity)")
	cmd.Flags().StringVar(&by, "delegated-by", "", "participant who signed in (default this identity)")
	return cmd
}

const aboutClient = `CLIENT is a name under oauth: in the manifest. Flags win over what is there, and
can describe a client that is in no manifest.`

// oauthClient is a client of a provider, from flags and, where they say
// nothing, from a manifest.
type oauthClient struct {
	name      string
	manifests []string
	manifest.OAuthClient
}

func (c *oauthClient) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&c.manifests, "manifest", "m", nil, "manifest to read; repeat to layer, the later one wins")
	f.StringVar(&c.ClientID, "client-id", "", "id of the client at the provider")
	f.StringVar(&c.AuthorizationEndpoint, "authorization-endpoint", "", "`URL` of the provider's consent page")
	f.StringVar(&c.TokenEndpoint, "token-endpoint", "", "`URL` where the room gets tokens")
	f.StringSliceVar(&c.Scopes, "scopes", nil, "what the token may be used for, separated by commas")
	f.BoolVar(&c.NoPKCE, "no-pkce", false, "for a provider that does not know PKCE")
}

// complete adds what the manifest says of the client of that name.
func (c *oauthClient) complete(name string) error {
	c.name = name
	files := c.manifests
	if len(files) == 0 {
		files = foundManifest()
	}
	m, err := manifest.Load(files, nil)
	if err != nil {
		return err
	}
	described := m.OAuth[name]
	c.ClientID = cmp.Or(c.ClientID, described.ClientID)
	c.AuthorizationEndpoint = cmp.Or(c.AuthorizationEndpoint, described.AuthorizationEndpoint)
	c.TokenEndpoint = cmp.Or(c.TokenEndpoint, described.TokenEndpoint)
	c.RedirectURI = cmp.Or(c.RedirectURI, described.RedirectURI)
	c.NoPKCE = c.NoPKCE || described.NoPKCE
	c.From, c.ClientSecret, c.Connector = described.From, described.ClientSecret, described.Connector
	if c.Scopes == nil {
		c.Scopes = described.Scopes
	}
	if c.Connector == nil && (c.ClientID == "" || c.AuthorizationEndpoint == "" || c.TokenEndpoint == "") {
		return hint(fmt.Errorf("cannot tell what the OAuth client %q is", name),
			"describe it below oauth: in roomenv.yaml or a file given with -m",
			"or give --client-id, --authorization-endpoint and --token-endpoint")
	}
	return nil
}

// printToken prints an access token of the client.
func (c *oauthClient) printToken(cmd *cobra.Command, a *app, params string) error {
	t := c.Target(c.name)
	t.Params = params
	token, err := a.resolve(cmd.Context(), t, fmt.Sprintf("an access token of %q", c.name))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", token.Reveal())
	return err
}

func oneClient(cmd *cobra.Command, args []string) error {
	if len(args) != 1 || args[0] == "" {
		return hint(fmt.Errorf("cannot %s: give the name of one OAuth client", cmd.Name()), "see `"+cmd.CommandPath()+" --help`")
	}
	return nil
}
