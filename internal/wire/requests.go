package wire

// DeleteRequestedArguments ask for delete_requested_secret.
type DeleteRequestedArguments struct {
	URL         Nullable `json:"url"`
	Type        Nullable `json:"type"`
	DelegatedTo Nullable `json:"delegated_to"`
}

// RequestSecretArguments ask for request_secret. [File] answers it; only its
// bytes count.
type RequestSecretArguments struct {
	URL           Nullable `json:"url"` // an opaque key
	Type          Nullable `json:"type"`
	ParticipantID Nullable `json:"participant_id"` // who is asked
	Timeout       *int     `json:"timeout"`        // seconds; the room's default when nil
	DelegateTo    Nullable `json:"delegate_to"`
}

// SecretRequest is the header of a secrets.request_secret event (section 6.1).
type SecretRequest struct {
	RequestID string                 `json:"request_id"`
	Request   RequestSecretArguments `json:"request"` // all but DelegateTo are there
	Requester Requester              `json:"requester,omitzero"`
}

// A Requester is who asks. Only this project's rooms tell.
type Requester struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// ProvideHeaders are the headers of the [Binary] that asks for provide_secret.
// One with an Error rejects the request and has no bytes.
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

// OAuth is a client of an OAuth provider. Peers forbid other keys than these
// six.
type OAuth struct {
	ClientID              Nullable `json:"client_id"`
	ClientSecret          Secret   `json:"client_secret"`
	AuthorizationEndpoint Nullable `json:"authorization_endpoint"`
	TokenEndpoint         Nullable `json:"token_endpoint"`
	NoPKCE                *bool    `json:"no_pkce"`
	Scopes                []string `json:"scopes"`
}

// RequestOAuthTokenArguments ask for request_oauth_token. An [AccessToken]
// answers it.
type RequestOAuthTokenArguments struct {
	Connector     *Connector `json:"connector"`
	OAuth         *OAuth     `json:"oauth"`
	RedirectURI   Nullable   `json:"redirect_uri"`
	ParticipantID Nullable   `json:"participant_id"` // who is asked
	Timeout       *int       `json:"timeout"`        // seconds; the room's default when nil
	DelegateTo    Nullable   `json:"delegate_to"`
}

// OAuthRequest is the header of a secrets.request_oauth_token event (section
// 6.1). Challenge is the PKCE challenge, by S256; its key is there also when it
// is null.
type OAuthRequest struct {
	RequestID string                     `json:"request_id"`
	Challenge Nullable                   `json:"challenge"`
	Request   RequestOAuthTokenArguments `json:"request"` // all but Connector and DelegateTo are there, and both endpoints
	Requester Requester                  `json:"requester,omitzero"`
}

// ProvideAuthorizationArguments ask for provide_oauth_authorization. Those with
// an Error reject the request and have no Code.
type ProvideAuthorizationArguments struct {
	RequestID string  `json:"request_id"`
	Code      Secret  `json:"code"`
	Error     *string `json:"error"`
}

// OfflineOAuthTokenArguments ask for get_offline_oauth_token. An [AccessToken]
// answers it.
type OfflineOAuthTokenArguments struct {
	Connector   *Connector `json:"connector"`
	OAuth       *OAuth     `json:"oauth"`
	DelegatedTo Nullable   `json:"delegated_to"`
	DelegatedBy Nullable   `json:"delegated_by"`
}

// AccessToken answers request_oauth_token and get_offline_oauth_token; null is
// none.
type AccessToken struct {
	AccessToken Secret `json:"access_token"`
}
