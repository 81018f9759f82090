package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"

	"github.com/kelseyhightower/envconfig"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// app is what all commands share: the configuration of the environment and of flags,
// which override it.
type app struct {
	LogLevel  string       `envconfig:"ROOMENV_LOG_LEVEL"`
	LogFormat string       `envconfig:"ROOMENV_LOG_FORMAT"`
	Secret    secret.Value `envconfig:"MESHAGENT_SECRET"`
	Data      string       `envconfig:"ROOMENV_DATA"`
	RoomKey   secret.Value `envconfig:"ROOMENV_ROOM_KEY"`

	signals  *inject.Signals
	env      room.Env
	roomFlag string
	log      *slog.Logger
}

func (a *app) logFlags(f *pflag.FlagSet) {
	f.String("log-level", "", "log `level` of stderr: debug, info, warn or error (default warn)")
	f.String("log-format", "", "log `format`: text or json (default text)")
}

func (a *app) roomFlags(f *pflag.FlagSet) {
	f.String("room", "", "`room` to use (default $MESHAGENT_ROOM; in the local room \"default\")")
	f.String("token-file", "", "`file` with the participant token, read for each connection (default $ROOMENV_TOKEN_FILE; overrides $MESHAGENT_TOKEN)")
}

func (a *app) dataFlag(f *pflag.FlagSet) {
	f.String("data", "", "data `directory` of the local room (default $ROOMENV_DATA, else ~/.local/share/roomenv)")
}

// init checks the flags and reads the environment, which they override.
func (a *app) init(cmd *cobra.Command) error {
	if err := checkFlags(cmd); err != nil {
		return err
	}
	if err := envconfig.Process("", a); err != nil {
		return fmt.Errorf("read environment: %w", err)
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
	a.log, err = newLogger(os.Stderr, cmp.Or(a.LogLevel, "warn"), cmp.Or(a.LogFormat, "text"))
	return err
}
