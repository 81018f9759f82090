package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// defaultRoom is the room of the local store that is used when no room is named.
const defaultRoom = "default"

// roomName is the room of references that name none.
func (a *app) roomName() string { return cmp.Or(a.roomFlag, a.env.Room, defaultRoom) }

func (a *app) hasToken() bool { return a.env.TokenFile != "" || a.env.Token.Len() > 0 }

// A roomDialer connects to rooms by name; "" is the one that the user chose.
type roomDialer struct {
	config func(name string) (room.Config, error)
	close  func() error
}

func (d *roomDialer) dial(ctx context.Context, name string) (*room.Client, error) {
	config, err := d.config(name)
	if err != nil {
		return nil, err
	}
	return room.Dial(ctx, config)
}

// dialer decides where rooms are: on the network when there is a token, or a key to
// sign one and the name of a room, else on this machine.
func (a *app) dialer() (*roomDialer, error) {
	env := a.env
	env.Room = cmp.Or(a.roomFlag, env.Room)
	if !a.hasToken() && (env.Room == "" || a.roomFlag != "" && env.APIKey.Len() == 0) {
		return a.localDialer()
	}
	config := func(name string) (room.Config, error) {
		env := env
		env.Room = cmp.Or(name, env.Room)
		config, err := env.Config()
		config.Logger = a.log
		return config, err
	}
	_, err := config("")
	switch {
	case errors.Is(err, room.ErrMissingRoom):
		err = hint(err, "set MESHAGENT_ROOM, or name the room with --room")
	case errors.Is(err, room.ErrMissingToken):
		err = hint(err, "set MESHAGENT_TOKEN to a participant token for that room, or MESHAGENT_API_KEY to make one",
			"or unset MESHAGENT_ROOM to use the local room")
	case err != nil && env.TokenFile != "":
		err = hint(err, "name a file with a participant token with --token-file or ROOMENV_TOKEN_FILE")
	}
	return &roomDialer{config: config, close: func() error { return nil }}, err
}

func (a *app) localDialer() (*roomDialer, error) {
	local, err := a.openRoom(localroom.Options{})
	if err != nil {
		return nil, err
	}
	scope := token.AgentScope()
	scope.Admin = true
	config := func(name string) (room.Config, error) {
		name = cmp.Or(name, a.roomFlag, defaultRoom)
		return room.Config{
			URL: "http://local/rooms/" + url.PathEscape(name),
			Token: func(context.Context) (secret.Value, error) {
				return local.Token(name, a.env.Name(), scope)
			},
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := local.DialContext(ctx, network, address)
				if err != nil {
					err = localError{err}
				}
				return conn, err
			},
			Failover: localroom.FailoverTimeout,
			Logger:   a.log,
		}, nil
	}
	return &roomDialer{config, local.Close}, nil
}

// A localError is why there is no connection to the local room: nothing of it is a
// matter of the network.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// openRoom opens the local room. Any user who can read its directory is its admin. A
// process that is stopped releases it first.
func (a *app) openRoom(options localroom.Options) (*localroom.Room, error) {
	dir, err := a.dataDir()
	if err != nil {
		return nil, err
	}
	options.Server.Key, options.Server.Logger = a.verifyKey, a.log
	if a.RoomKey.Len() > 0 {
		if options.Key, err = localroom.ParseKey(a.RoomKey); err != nil {
			return nil, fmt.Errorf("ROOMENV_ROOM_KEY: %w", err)
		}
	}
	r, err := localroom.Open(dir, options)
	if err != nil {
		return nil, localError{err}
	}
	a.signals.OnSuspend(r.Suspend)
	return r, nil
}

// verifyKey finds the keys that tokens for the local room may be signed with,
// beside the room's own.
func (a *app) verifyKey(keyID string) (secret.Value, bool) {
	if keyID == "" {
		return a.Secret, a.Secret.Len() > 0
	}
	key, err := token.ParseAPIKey(a.env.APIKey)
	return key.Secret, err == nil && key.KeyID == keyID
}

// dataDir is the data directory of the local room.
func (a *app) dataDir() (string, error) {
	if a.Data != "" {
		return a.Data, nil
	}
	if base := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "roomenv"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", hint(fmt.Errorf("find data directory of the local room: %w", err), "set ROOMENV_DATA to a directory")
	}
	return filepath.Join(home, ".local", "share", "roomenv"), nil
}

const (
	// answerTimeout bounds how long a room may take for the answer of a command.
	answerTimeout = 2 * time.Minute
	// slowAnswer is how long it takes until stderr says what roomenv waits for.
	slowAnswer = 3 * time.Second
)

// withSecrets runs do with the secrets of the room that the user chose, for no longer
// than answerTimeout.
func (a *app) withSecrets(ctx context.Context, do func(context.Context, *room.Secrets) error) error {
	return a.withAnswer(ctx, func(ctx context.Context, c *room.Client) error { return do(ctx, c.Secrets()) })
}

// withAnswer is withSecrets for all of a room.
func (a *app) withAnswer(ctx context.Context, do func(context.Context, *room.Client) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerTimeout, fmt.Errorf("no answer within %v", answerTimeout))
	defer cancel()
	defer time.AfterFunc(slowAnswer, func() { fmt.Fprintln(os.Stderr, "roomenv: waiting for the room to answer") }).Stop()
	return a.withRoom(ctx, func(*room.Config) {}, func(c *room.Client) error { return do(ctx, c) })
}

// withRoom runs do in the room that the user chose.
func (a *app) withRoom(ctx context.Context, configure func(*room.Config), do func(*room.Client) error) (err error) {
	dialer, err := a.dialer()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dialer.close()) }()
	config, err := dialer.config("")
	if err != nil {
		return err
	}
	configure(&config)
	client, err := room.Dial(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	return do(client)
}

// resolve fetches t from the room that the user chose, or from a participant. The
// user knows it as what.
func (a *app) resolve(ctx context.Context, t manifest.Target, what string) (_ secret.Value, err error) {
	dialer, err := a.dialer()
	if err != nil {
		return secret.Value{}, err
	}
	source := roomsource.New(dialer.dial)
	progress := newProgress(os.Stderr)
	source.OnRequest = progress.observe
	value, err := source.Resolve(ctx, t)
	progress.close()
	if err = errors.Join(err, source.Close(), dialer.close()); errors.Is(err, fetch.ErrNoAnswer) {
		err = hint(err, "`roomenv participants` lists participants; the approver runs `roomenv requests`")
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("get %s: %w", what, err)
	}
	return value, nil
}
