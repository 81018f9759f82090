package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
)

func newOAuth(a *app) *cobra.Command {
	cmd := group("oauth", "Get OAuth access tokens through the room", newOAuthRequest(a), newOAuthToken(a))
	a.roomFlags(cmd.PersistentFlags())
	return cmd
}

func newOAuthRequest(a *app) *cobra.Command {
	var q requestOptions
	var client oauthClient
	cmd := &cobra.Command{
		Use:   "request CLIENT [-m FILE]... [--from NAME]",
		Short: "Ask a participant for an access token and print it",
		Long: `Print an access token of the client: a stored one, refreshed if need be, or else
a new one, for which the participant signs in at the provider.
` + aboutClient,
		Example: `  roomenv oauth request github --from alice
  roomenv oauth request github --from alice --client-id Iv1.abc \
    --authorization-endpoint https://github.com/login/oauth/authorize \
    --token-endpoint https://github.com/login/oauth/access_token \
    --redirect-uri http://127.0.0.1:8765/callback --scopes repo`,
		Args: exactlyOneClient,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client.complete(args[0], cmd.Flags()); err != nil {
				return err
			}
			if q.from = cmp.Or(q.from, client.From); q.from == "" {
				return hint(errors.New("missing approver"), "pass --from NAME, or set from: for the client in the manifest")
			}
			client.From = q.from
			return client.printToken(cmd, a, q.params("delegated_to", q.delegateTo))
		},
	}
	q.flags(cmd)
	client.flags(cmd)
	cmd.Flags().BoolVar(&client.NoPKCE, "no-pkce", false, "do not use PKCE, for a provider that does not support it")
	cmd.Flags().StringVar(&client.RedirectURI, "redirect-uri", "", "`uri` to which the provider redirects the browser; on loopback the approver listens there")
	return cmd
}

func newOAuthToken(a *app) *cobra.Command {
	var client oauthClient
	var to, by string
	cmd := &cobra.Command{
		Use:   "token CLIENT [-m FILE]...",
		Short: "Print a stored access token",
		Long: `Print an access token that was authorized before, refreshed if need be. The exit
code is 1 if the client is not authorized yet.
` + aboutClient,
		Args: exactlyOneClient,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := client.complete(args[0], cmd.Flags()); err != nil {
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
	cmd.Flags().StringVar(&to, "delegated-to", "", "`participant` that the token is for (default: this identity)")
	cmd.Flags().StringVar(&by, "delegated-by", "", "`participant` who signed in (default: this identity)")
	return cmd
}

const aboutClient = `CLIENT is a name under oauth: in the manifest. Flags override the manifest, and can
describe a client that is in no manifest.`

// oauthClient is an OAuth client, from flags and, where those are not set, from a
// manifest.
type oauthClient struct {
	name      string
	manifests []string
	manifest.OAuthClient
}

func (c *oauthClient) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&c.manifests, "manifest", "m", nil, "read this manifest `file`; repeat to layer files, later files override earlier ones")
	f.StringVar(&c.ClientID, "client-id", "", "`id` of the client at the provider")
	f.StringVar(&c.AuthorizationEndpoint, "authorization-endpoint", "", "`url` of the provider's consent page")
	f.StringVar(&c.TokenEndpoint, "token-endpoint", "", "`url` of the provider's token endpoint")
	f.StringSliceVar(&c.Scopes, "scopes", nil, "`scopes` to request, separated by commas")
	mayBeEmpty(f, "scopes")
}

// complete adds the client of that name in the manifest.
func (c *oauthClient) complete(name string, flags *pflag.FlagSet) error {
	c.name = name
	files := c.manifests
	if len(files) == 0 {
		files = findManifest()
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
	if !flags.Changed("no-pkce") {
		c.NoPKCE = described.NoPKCE
	}
	c.From, c.ClientSecret, c.Connector = described.From, described.ClientSecret, described.Connector
	if c.Scopes == nil {
		c.Scopes = described.Scopes
	}
	if c.Connector == nil && (c.ClientID == "" || c.AuthorizationEndpoint == "" || c.TokenEndpoint == "") {
		return hint(fmt.Errorf("OAuth client %q is not defined", name),
			"define it under oauth: in roomenv.yaml or a file given with -m",
			"or pass --client-id, --authorization-endpoint and --token-endpoint")
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
