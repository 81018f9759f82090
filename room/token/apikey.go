package token

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/roomenv/roomenv/secret"
)

// An APIKey signs tokens for a project (section 8.2).
type APIKey struct {
	KeyID     string // a UUID, the kid claim
	ProjectID string // a UUID, the sub claim
	Secret    secret.Value
}

const apiKeyPrefix = "ma-"

// ParseAPIKey decodes ma-KEY-PROJECT-SECRET, where KEY and PROJECT are UUIDs in 22
// characters of base64, and SECRET may have any characters. The error wraps
// [ErrMalformed].
func ParseAPIKey(key secret.Value) (APIKey, error) {
	rest, ok := strings.CutPrefix(string(key.Reveal()), apiKeyPrefix)
	parts := strings.SplitN(rest, "-", 3)
	if !ok || len(parts) < 3 || parts[2] == "" {
		return APIKey{}, fmt.Errorf("invalid API key: %w: want ma-KEY-PROJECT-SECRET", ErrMalformed)
	}
	keyID, err := expand(parts[0])
	if err != nil {
		return APIKey{}, fmt.Errorf("invalid API key: %w: invalid key id", ErrMalformed)
	}
	projectID, err := expand(parts[1])
	if err != nil {
		return APIKey{}, fmt.Errorf("invalid API key: %w: invalid project id", ErrMalformed)
	}
	return APIKey{keyID.String(), projectID.String(), secret.New([]byte(parts[2]))}, nil
}

// expand decodes a UUID in base64url with "." instead of "-", which separates the parts.
// It refuses other encodings of it: the decoder ignores line ends and spare bits.
func expand(s string) (uuid.UUID, error) {
	s = strings.ReplaceAll(s, ".", "-")
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil && base64.RawURLEncoding.EncodeToString(b) != s {
		err = ErrMalformed
	}
	if err != nil {
		return uuid.UUID{}, err
	}
	return uuid.FromBytes(b)
}
