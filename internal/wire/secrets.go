package wire

// Secrets is the name of the secrets toolkit (section 6). Requests use delegate_to,
// look-ups and deletions delegated_to.
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

	Watch = "watch" // a stream; only rooms of this project have it (section 6.2)
)

// SecretInfo is a secret without its value. ID, Type and Name are never
// null.
type SecretInfo struct {
	ID          string   `json:"id"`
	Type        string   `json:"type"`
	Name        string   `json:"name"`
	DelegatedTo Nullable `json:"delegated_to"`
	// DelegatedBy is the owner of a secret of another participant. Only rooms of this
	// project list these, and only in pages.
	DelegatedBy Nullable `json:"delegated_by,omitempty"`
}

// ListArguments are the arguments of list_secrets. Official clients send none.
type ListArguments struct {
	Paged bool     `json:"paged,omitempty"`
	After Nullable `json:"after,omitempty"` // Next of the page before
}

// SecretList is the result of list_secrets.
type SecretList struct {
	Secrets List[SecretInfo] `json:"secrets"`
	Next    Nullable         `json:"next,omitempty"` // "" on the last page
}

// ExistsArguments are the arguments of exists.
type ExistsArguments struct {
	SecretID    Nullable `json:"secret_id"`
	DelegatedTo Nullable `json:"delegated_to"`
	ForIdentity Nullable `json:"for_identity"`
}

// ExistsResult is the result of exists.
type ExistsResult struct {
	Exists bool `json:"exists"`
}

// GetArguments are the arguments of get_secret. The result is a [File], or [Empty] if the
// secret does not exist.
type GetArguments struct {
	SecretID    Nullable `json:"secret_id"`
	Type        Nullable `json:"type"`
	Name        Nullable `json:"name"`
	DelegatedTo Nullable `json:"delegated_to"`
	// DelegatedBy is the owner, if it is not the caller. Only rooms of this project
	// know it, and report the owner with the secret.
	DelegatedBy Nullable `json:"delegated_by,omitempty"`
}

// SetHeaders are the headers of the [Binary] for set_secret. HasData is always true; it
// distinguishes an empty value from no value.
type SetHeaders struct {
	SecretID    Nullable `json:"secret_id"`
	Type        Nullable `json:"type"`
	Name        Nullable `json:"name"`
	DelegatedTo Nullable `json:"delegated_to"`
	ForIdentity Nullable `json:"for_identity"`
	HasData     bool     `json:"has_data"`
}

// DeleteArguments are the arguments of delete_secret.
type DeleteArguments struct {
	ID          Nullable `json:"id"`
	DelegatedTo Nullable `json:"delegated_to"`
}

// A Change is a chunk of the stream of watch: a secret that was set or deleted.
type Change struct {
	ID          string   `json:"id"`
	DelegatedTo Nullable `json:"delegated_to"`
	Revision    uint64   `json:"revision"` // increases with each change of a secret
	Deleted     bool     `json:"deleted"`
}
