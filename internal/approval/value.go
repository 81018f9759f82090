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
		return secret.Value{}, errors.New("git takes a user name and a password: one was not entered")
	}
	if !utf8.ValidString(username) || !utf8.ValidString(password) {
		return secret.Value{}, errors.New("git takes a user name and a password in UTF-8")
	}
	b, err := json.Marshal(struct { //nolint:gosec // the value is what this makes
		Username string `json:"username"`
		Password string `json:"password"`
	}{username, password})
	if err != nil {
		return secret.Value{}, errors.New("cannot encode the user name and the password")
	}
	return secret.New(b), nil
}
