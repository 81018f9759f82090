package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/kelseyhightower/envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// app is what all commands share: the environment's configuration and the
// flags, which win over it.
type app struct {
	LogLevel  string       `envconfig:"ROOMENV_LOG_LEVEL" default:"warn"`
	LogFormat string       `envconfig:"ROOMENV_LOG_FORMAT" default:"text"`
	Secret    secret.Value `envconfig:"MESHAGENT_SECRET"`
	Data      string       `envconfig:"ROOMENV_DATA"`
	RoomKey   secret.Value `envconfig:"ROOMENV_ROOM_KEY"`

	env      room.Env
	roomFlag string
	log      *slog.Logger
}

func (a *app) logFlags(f *pflag.FlagSet) {
	f.String("log-level", "", "what to log to stderr: debug, info, warn or error (default warn)")
	f.String("log-format", "", "how to log: text or json (default text)")
}

func (a *app) roomFlags(f *pflag.FlagSet) {
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
	a.env = room.FromEnv()
	for name, field := range map[string]*string{
		"log-level": &a.LogLevel, "log-format": &a.LogFormat, "room": &a.roomFlag, "data": &a.Data,
		"token-file": &a.env.TokenFile,
	} {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			*field = f.Value.String()
		}
	}
	var err error
	a.log, err = newLogger(os.Stderr, a.LogLevel, a.LogFormat)
	return err
}
