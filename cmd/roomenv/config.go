package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kelseyhightower/envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// app is what all commands share: the environment's configuration and the
// flags, which win over it.
type app struct {
	LogLevel  string       `envconfig:"ROOMENV_LOG_LEVEL" default:"warn"`
	LogFormat string       `envconfig:"ROOMENV_LOG_FORMAT" default:"text"`
	Room      string       `envconfig:"MESHAGENT_ROOM"`
	Token     secret.Value `envconfig:"MESHAGENT_TOKEN"`
	TokenFile string       `envconfig:"ROOMENV_TOKEN_FILE"`
	RoomURL   string       `envconfig:"MESHAGENT_ROOM_URL"`
	APIURL    string       `envconfig:"MESHAGENT_API_URL"`
	APIKey    secret.Value `envconfig:"MESHAGENT_API_KEY"`
	Secret    secret.Value `envconfig:"MESHAGENT_SECRET"`
	Data      string       `envconfig:"ROOMENV_DATA"`
	RoomKey   secret.Value `envconfig:"ROOMENV_ROOM_KEY"`
	Identity  string       `envconfig:"ROOMENV_IDENTITY"`

	chosen string // the room that --room names
	log    *slog.Logger
}

// The address of the hosted service and the local room's name, where nobody
// gives another.
const (
	defaultURL  = "https://api.meshagent.com"
	defaultRoom = "default"
)

func (a *app) logFlags(f *pflag.FlagSet) {
	f.String("log-level", "", "what to log to stderr: debug, info, warn or error (default warn)")
	f.String("log-format", "", "how to log: text or json (default text)")
}

func (a *app) roomFlag(f *pflag.FlagSet) {
	f.String("room", "", "the room to use (default $MESHAGENT_ROOM; for the local room \"default\")")
	f.String("token-file", "", "file with the participant token, read for each connection (default $ROOMENV_TOKEN_FILE; wins over $MESHAGENT_TOKEN)")
}

func (a *app) dataFlag(f *pflag.FlagSet) {
	f.String("data", "", "folder of the local room (default $ROOMENV_DATA, else ~/.local/share/roomenv)")
}

// init reads the environment, then the flags, which win.
func (a *app) init(cmd *cobra.Command) error {
	if err := envconfig.Process("", a); err != nil {
		return fmt.Errorf("cannot read the environment: %w", err)
	}
	for name, field := range map[string]*string{
		"log-level": &a.LogLevel, "log-format": &a.LogFormat, "room": &a.chosen, "data": &a.Data,
		"token-file": &a.TokenFile,
	} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			*field = f.Value.String()
		}
	}
	var err error
	a.log, err = newLogger(os.Stderr, a.LogLevel, a.LogFormat)
	return err
}

// rooms is where rooms are reached, by name; "" is the one that the user
// chose.
type rooms struct {
	config  func(name string) room.Config
	close   func() error
	suspend func() (resume func()) // while this process is stopped; nil is nothing
}

func (r rooms) dial(ctx context.Context, name string) (*room.Client, error) {
	return room.Dial(ctx, r.config(name))
}

// rooms decides where the room is: on the network when there is a token, or a
// key to make one and the name of a room, else on this machine.
func (a *app) rooms() (rooms, error) {
	switch {
	case a.TokenFile != "":
		if _, err := a.fileToken(); err != nil {
			return rooms{}, err
		}
		return a.networkRooms(func(string) (secret.Value, error) { return a.fileToken() })
	case a.Token.Len() > 0:
		return a.networkRooms(func(string) (secret.Value, error) { return a.Token, nil })
	case a.APIKey.Len() > 0 && cmp.Or(a.chosen, a.Room) != "":
		return a.networkRooms(a.mint)
	case a.Room != "" && a.chosen == "":
		return rooms{}, hint(errors.New("cannot join the room "+strconv.Quote(a.Room)+": MESHAGENT_ROOM is set but MESHAGENT_TOKEN is not"),
			"set MESHAGENT_TOKEN to a participant token for that room, or MESHAGENT_API_KEY to make one",
			"or unset MESHAGENT_ROOM to use the local room")
	}
	return a.localRooms()
}

func (a *app) networkRooms(tokenFor func(room string) (secret.Value, error)) (rooms, error) {
	chosen := cmp.Or(a.chosen, a.Room)
	if chosen == "" {
		return rooms{}, hint(errors.New("cannot tell which room to join: there is a token but MESHAGENT_ROOM is not set"),
			"set MESHAGENT_ROOM, or name the room with --room")
	}
	base := strings.TrimRight(cmp.Or(a.RoomURL, a.APIURL, defaultURL), "/")
	config := func(name string) room.Config {
		name = cmp.Or(name, chosen)
		return room.Config{
			URL:    base + "/rooms/" + url.PathEscape(name),
			Token:  func(context.Context) (secret.Value, error) { return tokenFor(name) },
			Logger: a.log,
		}
	}
	return rooms{config: config, close: func() error { return nil }}, nil
}

// maxToken bounds what is read of a token file, in bytes.
const maxToken = 64 << 10

// fileToken reads the token file, which whoever rotates tokens replaces.
func (a *app) fileToken() (secret.Value, error) {
	failed := func(err error) (secret.Value, error) {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return secret.Value{}, hint(fmt.Errorf("cannot use the token file %s: %w", a.TokenFile, err), "name a file with a participant token with --token-file or ROOMENV_TOKEN_FILE")
	}
	f, err := os.Open(a.TokenFile)
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
		return failed(errors.New("it is empty"))
	case len(b) > maxToken:
		return failed(fmt.Errorf("it has more than %d KiB", maxToken>>10))
	}
	return secret.New(b), nil
}

// tokenLifetime is enough for one attempt to connect; each gets a new token.
const tokenLifetime = 5 * time.Minute

// mint makes a token for a room with the API key.
func (a *app) mint(room string) (secret.Value, error) {
	key, err := token.ParseAPIKey(a.APIKey)
	if err != nil {
		return secret.Value{}, fmt.Errorf("cannot use MESHAGENT_API_KEY: %w", err)
	}
	return token.Token{
		Name:      a.identity(),
		Room:      room,
		Role:      token.Agent,
		API:       token.AgentScope(),
		ProjectID: key.ProjectID,
		KeyID:     key.KeyID,
		Expires:   time.Now().Add(tokenLifetime),
	}.Sign(key.Secret)
}

// roomName is the room of references that name none.
func (a *app) roomName() string {
	return cmp.Or(a.chosen, a.Room, defaultRoom)
}

func (a *app) localRooms() (rooms, error) {
	embedded, err := a.openRoom()
	if err != nil {
		return rooms{}, err
	}
	config := func(name string) room.Config {
		name = cmp.Or(name, a.chosen, defaultRoom)
		return room.Config{
			URL: "http://local/rooms/" + url.PathEscape(name),
			Token: func(context.Context) (secret.Value, error) {
				return embedded.Token(name, a.identity(), token.FullScope())
			},
			DialContext: embedded.DialContext,
			Logger:      a.log,
		}
	}
	return rooms{config, embedded.Close, embedded.Suspend}, nil
}

// openRoom opens the local room. Whoever can read its folder is its admin.
func (a *app) openRoom() (*localroom.Room, error) {
	dir, err := a.dataDir()
	if err != nil {
		return nil, err
	}
	options := localroom.Options{VerifyKey: a.verifyKey, Logger: a.log}
	if a.RoomKey.Len() > 0 {
		if options.Key, err = localroom.ParseKey(a.RoomKey); err != nil {
			return nil, fmt.Errorf("cannot use ROOMENV_ROOM_KEY: %w", err)
		}
	}
	return localroom.Open(dir, options)
}

// verifyKey finds the keys that tokens for the local room may be signed with,
// beside the room's own.
func (a *app) verifyKey(keyID string) (secret.Value, bool) {
	if keyID == "" {
		return a.Secret, a.Secret.Len() > 0
	}
	key, err := token.ParseAPIKey(a.APIKey)
	return key.Secret, err == nil && key.KeyID == keyID
}

// dataDir is the folder of the local room.
func (a *app) dataDir() (string, error) {
	if a.Data != "" {
		return a.Data, nil
	}
	if base := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "roomenv"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", hint(fmt.Errorf("cannot find a folder for the local room: %w", err), "set ROOMENV_DATA to a folder of yours")
	}
	return filepath.Join(home, ".local", "share", "roomenv"), nil
}

// identity is who we are where no token says it: unless set, the user of the
// operating system, by number where it has no name.
func (a *app) identity() string {
	if a.Identity != "" {
		return a.Identity
	}
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "uid-" + strconv.Itoa(os.Getuid())
}
