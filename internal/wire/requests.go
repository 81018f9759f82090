package wire

// DeleteRequestedArguments are the arguments of delete_requested_secret.
type DeleteRequestedArguments struct {
	URL         Nullable `json:"url"`
	Type        Nullable `json:"type"`
	DelegatedTo Nullable `json:"delegated_to"`
}

// RequestSecretArguments are the arguments of request_secret. The result is a [File], of
// which only the bytes matter.
type RequestSecretArguments struct {
	URL           Nullable `json:"url"` // an opaque key
	Type          Nullable `json:"type"`
	ParticipantID Nullable `json:"participant_id"` // the approver
	Timeout       *int     `json:"timeout"`        // seconds; the room's default when nil
	DelegateTo    Nullable `json:"delegate_to"`
}

// SecretRequest is the header of a secrets.request_secret event (section 6.1).
type SecretRequest struct {
	RequestID string                 `json:"request_id"`
	Request   RequestSecretArguments `json:"request"` // DelegateTo is null
	Requester Requester              `json:"requester,omitzero"`
}

// A Requester is the participant that asks. Only rooms of this project send it.
type Requester struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// NoHandler is the reason with which a client rejects requests that it cannot answer.
// Another client of the approver may answer them.
const NoHandler = "no handler registered"

// ProvideHeaders are the headers of the [Binary] for provide_secret. With an Error they
// reject the request, without bytes.
type ProvideHeaders struct {
	RequestID string  `json:"request_id"`
	Error     *string `json:"error"`
}

// A Connector names a service that OAuth gives access to (section 7.7).
type Connector struct {
	OpenAIConnectorID Nullable `json:"openai_connector_id"`
	ServerURL         Nullable `json:"server_url"`
	ClientSecretID    Nullable `json:"client_secret_id"`
}

// OAuth is a client of an OAuth provider. Peers reject other keys.
type OAuth struct {
	ClientID              Nullable `json:"client_id"`
	ClientSecret          Secret   `json:"client_secret"`
	AuthorizationEndpoint Nullable `json:"authorization_endpoint"`
	TokenEndpoint         Nullable `json:"token_endpoint"`
	NoPKCE                *bool    `json:"no_pkce"`
	Scopes                []string `json:"scopes"`
}

// RequestOAuthTokenArguments are the arguments of request_oauth_token. The result is an
// [AccessToken].
type RequestOAuthTokenArguments struct {
	Connector     *Connector `json:"connector"`
	OAuth         *OAuth     `json:"oauth"`
	RedirectURI   Nullable   `json:"redirect_uri"`
	ParticipantID Nullable   `json:"participant_id"` // the approver
	Timeout       *int       `json:"timeout"`        // seconds; the room's default when nil
	DelegateTo    Nullable   `json:"delegate_to"`
}

// OAuthRequest is the header of a secrets.request_oauth_token event (section
// 6.1). Challenge is the PKCE challenge (S256), or null. Issuer and IssuerRequired are for
// the parameter iss of the provider's response (RFC 9207); only rooms of this project send
// them.
type OAuthRequest struct {
	RequestID      string                     `json:"request_id"`
	Challenge      Nullable                   `json:"challenge"`
	Issuer         string                     `json:"issuer,omitempty"`
	IssuerRequired bool                       `json:"issuer_required,omitempty"`
	Request        RequestOAuthTokenArguments `json:"request"` // Connector and DelegateTo are null, and both endpoints are set
	Requester      Requester                  `json:"requester,omitzero"`
}

// ProvideAuthorizationArguments are the arguments of provide_oauth_authorization. With an
// Error they reject the request, without a Code.
type ProvideAuthorizationArguments struct {
	RequestID string  `json:"request_id"`
	Code      Secret  `json:"code"`
	Error     *string `json:"error"`
}

// OfflineOAuthTokenArguments are the arguments of get_offline_oauth_token. The result is
// an [AccessToken].
type OfflineOAuthTokenArguments struct {
	Connector   *Connector `json:"connector"`
	OAuth       *OAuth     `json:"oauth"`
	DelegatedTo Nullable   `json:"delegated_to"`
	DelegatedBy Nullable   `json:"delegated_by"`
}

// AccessToken is the result of request_oauth_token and get_offline_oauth_token; null if
// there is no token.
type AccessToken struct {
	AccessToken Secret `json:"access_token"`
}
