package approval

import (
	"encoding/json"
	"errors"
	"unicode/utf8"

	"github.com/roomenv/roomenv/secret"
)

// GitValue is the value of a secret of the type [Git]: a JSON object.
func GitValue(username, password string) (secret.Value, error) {
	if username == "" || password == "" {
		return secret.Value{}, errors.New("missing user name or password")
	}
	if !utf8.ValidString(username) || !utf8.ValidString(password) {
		return secret.Value{}, errors.New("user name or password is not UTF-8")
	}
	b, err := json.Marshal(struct { //nolint:gosec // this is the value
		Username string `json:"username"`
		Password string `json:"password"`
	}{username, password})
	if err != nil {
		return secret.Value{}, errors.New("encode user name and password")
	}
	return secret.New(b), nil
}
