package room

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

const (
	defaultURL = "https://api.meshagent.com"

	// maxToken is the maximum size of a token file, in bytes.
	maxToken = 64 << 10

	// tokenLifetime of a signed token, which is for one connection. The local room ends
	// the connection with it.
	tokenLifetime = time.Hour
)

// Env is how to reach a room, by variables of the environment (docs/environment.md).
// The containers of a room have them.
type Env struct {
	Room      string       // MESHAGENT_ROOM: name
	Token     secret.Value // MESHAGENT_TOKEN
	TokenFile string       // ROOMENV_TOKEN_FILE: path; overrides Token, and is read for each attempt to connect
	APIKey    secret.Value // MESHAGENT_API_KEY: signs a token for each attempt to connect, unless Token or TokenFile is set
	RoomURL   string       // MESHAGENT_ROOM_URL: base URL
	APIURL    string       // MESHAGENT_API_URL: base URL, used if RoomURL is ""
	Identity  string       // ROOMENV_IDENTITY: for tokens that APIKey signs
}

// FromEnv returns the variables of this process.
func FromEnv() Env {
	return Env{
		Room:      os.Getenv("MESHAGENT_ROOM"),
		Token:     secret.New([]byte(os.Getenv("MESHAGENT_TOKEN"))),
		TokenFile: os.Getenv("ROOMENV_TOKEN_FILE"),
		APIKey:    secret.New([]byte(os.Getenv("MESHAGENT_API_KEY"))),
		RoomURL:   os.Getenv("MESHAGENT_ROOM_URL"),
		APIURL:    os.Getenv("MESHAGENT_API_URL"),
		Identity:  os.Getenv("ROOMENV_IDENTITY"),
	}
}

// Config returns how to connect to the room. It fails with [ErrMissingRoom] or
// [ErrMissingToken], and if the token file or the API key is invalid.
func (e Env) Config() (Config, error) {
	sign, err := e.token()
	switch {
	case err != nil:
		return Config{}, err
	case e.Room == "" && sign == nil:
		return Config{}, fmt.Errorf("%w: neither MESHAGENT_ROOM nor MESHAGENT_TOKEN is set", ErrMissingRoom)
	case e.Room == "":
		return Config{}, fmt.Errorf("%w: a token is set but MESHAGENT_ROOM is not", ErrMissingRoom)
	case sign == nil:
		return Config{}, fmt.Errorf("%w: MESHAGENT_ROOM is set but MESHAGENT_TOKEN is not", ErrMissingToken)
	}
	base := strings.TrimRight(cmp.Or(e.RoomURL, e.APIURL, defaultURL), "/")
	return Config{
		URL:   base + "/rooms/" + url.PathEscape(e.Room),
		Token: func(context.Context) (secret.Value, error) { return sign() },
	}, nil
}

// Dial connects to the room of that name; "" is Room.
func (e Env) Dial(ctx context.Context, name string) (*Client, error) {
	e.Room = cmp.Or(name, e.Room)
	c, err := e.Config()
	if err != nil {
		return nil, err
	}
	return Dial(ctx, c)
}

// token returns a function that returns a token; nil if no variable is set.
func (e Env) token() (func() (secret.Value, error), error) {
	switch {
	case e.TokenFile != "":
		_, err := e.readToken()
		return e.readToken, err
	case e.Token.Len() > 0:
		return func() (secret.Value, error) { return e.Token, nil }, nil
	case e.APIKey.Len() == 0:
		return nil, nil
	}
	key, err := token.ParseAPIKey(e.APIKey)
	if err != nil {
		return nil, fmt.Errorf("MESHAGENT_API_KEY: %w", err)
	}
	return func() (secret.Value, error) {
		return token.Token{
			Name:      e.Name(),
			Room:      e.Room,
			Role:      token.Agent,
			API:       token.AgentScope(),
			ProjectID: key.ProjectID,
			KeyID:     key.KeyID,
			Expires:   time.Now().Add(tokenLifetime),
		}.Sign(key.Secret)
	}, nil
}

// readToken reads the token file.
func (e Env) readToken() (secret.Value, error) {
	failed := func(err error) (secret.Value, error) {
		return secret.Value{}, fmt.Errorf("read token file %s: %w", e.TokenFile, text.Reason(err))
	}
	f, err := os.Open(e.TokenFile)
	if err != nil {
		return failed(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	b = bytes.TrimSpace(b)
	switch {
	case err != nil:
		return failed(err)
	case len(b) == 0:
		return failed(errors.New("empty file"))
	case len(b) > maxToken:
		return failed(fmt.Errorf("larger than %d KiB", maxToken>>10))
	}
	return secret.New(b), nil
}

// Name returns the identity in signed tokens: Identity or, if unset, the user name of
// the operating system, or else "uid-" and the number of the user.
func (e Env) Name() string {
	if e.Identity != "" {
		return e.Identity
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "uid-" + strconv.Itoa(os.Getuid())
}
