package token

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/roomenv/roomenv/secret"
)

// An APIKey signs tokens in the name of a project (section 8.2).
type APIKey struct {
	KeyID     string // a UUID, the kid claim
	ProjectID string // a UUID, the sub claim
	Secret    secret.Value
}

const apiKeyPrefix = "ma-"

// ParseAPIKey reads ma-KEY-PROJECT-SECRET, where KEY and PROJECT are UUIDs in
// 22 characters of base64 and SECRET may hold any character. Errors wrap
// [ErrMalformed].
func ParseAPIKey(key secret.Value) (APIKey, error) {
	rest, ok := strings.CutPrefix(string(key.Reveal()), apiKeyPrefix)
	parts := strings.SplitN(rest, "-", 3)
	if !ok || len(parts) < 3 || parts[2] == "" {
		return APIKey{}, fmt.Errorf("cannot read the API key: %w: it is not of the form ma-KEY-PROJECT-SECRET", ErrMalformed)
	}
	keyID, err := expand(parts[0])
	if err != nil {
		return APIKey{}, fmt.Errorf("cannot read the API key: %w: its first part is no id", ErrMalformed)
	}
	projectID, err := expand(parts[1])
	if err != nil {
		return APIKey{}, fmt.Errorf("cannot read the API key: %w: its second part is no project id", ErrMalformed)
	}
	return APIKey{keyID.String(), projectID.String(), secret.New([]byte(parts[2]))}, nil
}

// Encode is the inverse of [ParseAPIKey]. It fails when an id is not a UUID
// or the secret is empty.
func (k APIKey) Encode() (secret.Value, error) {
	keyID, err := uuid.Parse(k.KeyID)
	if err != nil {
		return secret.Value{}, fmt.Errorf("cannot encode the API key: key id %q is not a UUID", k.KeyID)
	}
	projectID, err := uuid.Parse(k.ProjectID)
	if err != nil {
		return secret.Value{}, fmt.Errorf("cannot encode the API key: project id %q is not a UUID", k.ProjectID)
	}
	if k.Secret.Len() == 0 {
		return secret.Value{}, fmt.Errorf("cannot encode the API key: its secret is empty")
	}
	head := apiKeyPrefix + compact(keyID) + "-" + compact(projectID) + "-"
	return secret.New(append([]byte(head), k.Secret.Reveal()...)), nil
}

// compact is base64url with "." for "-", which separates the parts.
func compact(id uuid.UUID) string {
	return strings.ReplaceAll(base64.RawURLEncoding.EncodeToString(id[:]), "-", ".")
}

// expand takes only what compact gives: the decoder by itself would pass over
// line ends and "-" where "." stands.
func expand(s string) (uuid.UUID, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(strings.ReplaceAll(s, ".", "-"))
	if err != nil {
		return uuid.UUID{}, err
	}
	id, err := uuid.FromBytes(b)
	if err == nil && compact(id) != s {
		err = ErrMalformed
	}
	return id, err
}
