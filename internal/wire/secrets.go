package wire

// Secrets is the name of the secrets toolkit (section 6). Requests create with
// delegate_to, look-ups and deletions use delegated_to.
const Secrets = "secrets"

// Tools of the secrets toolkit.
const (
	ListSecrets               = "list_secrets"
	Exists                    = "exists"
	GetSecret                 = "get_secret"
	SetSecret                 = "set_secret"
	DeleteSecret              = "delete_secret"
	DeleteRequestedSecret     = "delete_requested_secret"
	RequestSecret             = "request_secret"
	ProvideSecret             = "provide_secret"
	RequestOAuthToken         = "request_oauth_token"
	ProvideOAuthAuthorization = "provide_oauth_authorization"
	GetOfflineOAuthToken      = "get_offline_oauth_token"

	Watch = "watch" // streams; only this project's rooms have it (section 6.2)
)

// SecretInfo describes a secret without its value. ID, Type and Name are never
// null.
type SecretInfo struct {
	ID          string   `json:"id"`
	Type        string   `json:"type"`
	Name        string   `json:"name"`
	DelegatedTo Nullable `json:"delegated_to"`
}

// SecretList answers list_secrets.
type SecretList struct {
	Secrets List[SecretInfo] `json:"secrets"`
}

// ExistsArguments ask for exists.
type ExistsArguments struct {
	SecretID    Nullable `json:"secret_id"`
	DelegatedTo Nullable `json:"delegated_to"`
	ForIdentity Nullable `json:"for_identity"`
}

// ExistsResult answers exists.
type ExistsResult struct {
	Exists bool `json:"exists"`
}

// GetArguments ask for get_secret. [File] answers it, [Empty] when there is no
// such secret.
type GetArguments struct {
	SecretID    Nullable `json:"secret_id"`
	Type        Nullable `json:"type"`
	Name        Nullable `json:"name"`
	DelegatedTo Nullable `json:"delegated_to"`
}

// SetHeaders are the headers of the [Binary] that asks for set_secret. HasData
// is true always; it tells an empty value from none.
type SetHeaders struct {
	SecretID    Nullable `json:"secret_id"`
	Type        Nullable `json:"type"`
	Name        Nullable `json:"name"`
	DelegatedTo Nullable `json:"delegated_to"`
	ForIdentity Nullable `json:"for_identity"`
	HasData     bool     `json:"has_data"`
}

// DeleteArguments ask for delete_secret.
type DeleteArguments struct {
	ID          Nullable `json:"id"`
	DelegatedTo Nullable `json:"delegated_to"`
}

// A Change is a piece of the stream of watch: a secret that was set or deleted.
type Change struct {
	ID          string   `json:"id"`
	DelegatedTo Nullable `json:"delegated_to"`
	Revision    uint64   `json:"revision"` // a later change of a secret has a higher one
	Deleted     bool     `json:"deleted"`
}
