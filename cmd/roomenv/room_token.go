package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

func newRoomToken(a *app) *cobra.Command {
	var t token.Token
	var admin bool
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use:   "token --room ROOM --identity NAME [--role user|agent|tool] [--admin] [--ttl 1h] [--data DIR]",
		Short: "Print a participant token for the local room",
		Long: `Print a token that lets NAME join ROOM in the local room and use its own secrets.
An admin may store secrets for other identities too.

A connection closes when its token expires. Revoke a token before that with
` + "`roomenv room token revoke`" + `.`,
		Example: `  export MESHAGENT_ROOM=demo MESHAGENT_ROOM_URL=http://127.0.0.1:8078
  export MESHAGENT_TOKEN=$(roomenv room token --data ./room --room demo --identity alice)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			room, err := a.openRoom(localroom.Options{})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, room.Close()) }()
			t.API = token.UserScope()
			if t.Role != token.User {
				t.API = token.AgentScope()
			}
			if admin {
				t.API.Admin = true
			}
			t.Expires = time.Now().Add(lifetime)
			t.ID = rand.Text()
			signed, err := room.Sign(t)
			if err != nil {
				return err
			}
			a.log.Info("token issued", "token_id", t.ID, "identity", t.Name, "room", t.Room, "expires", t.Expires)
			if readableByOthers(os.Stdout) {
				fmt.Fprintln(os.Stderr, "roomenv: the token is in a file that other users can read: run chmod 600, or umask 077 before")
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", signed.Reveal())
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&t.Room, "room", "", "`room` that the participant may join")
	f.StringVar(&t.Name, "identity", "", "`name` of the participant")
	t.Role = token.User
	parsedFlag(f, &t.Role, "role", "`role`: user, agent or tool (default user)", oneOf(token.User, token.Agent, token.Tool))
	f.BoolVar(&admin, "admin", false, "allow storing secrets for other identities")
	durationFlag(f, &lifetime, "ttl", time.Hour, "token lifetime")
	_ = cmd.MarkFlagRequired("room")
	_ = cmd.MarkFlagRequired("identity")
	cmd.AddCommand(newRoomTokenRevoke(a))
	return cmd
}

func readableByOthers(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0
}

func newRoomTokenRevoke(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID | --token-file FILE [--data DIR]",
		Short: "Revoke a participant token of the local room",
		Long: `Make the local room reject a token, and close the connections that were made with it.
The ID of a token is its jti claim; the log and the audit log of
` + "`roomenv room serve`" + ` have it.

A token without an ID, which only older versions issued, cannot be revoked by itself.`,
		Example: `  roomenv room token revoke --token-file bob.token
  roomenv room token revoke 7XKZQ3M5UYH2E4WJ6SNB2C3DTA --data ./room`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			file := cmd.Flags().Changed("token-file")
			switch {
			case file && len(args) > 0:
				return seeHelp(cmd, errors.New("an ID cannot be combined with --token-file"))
			case !file && len(args) == 0:
				return seeHelp(cmd, errMissing("ID or --token-file"))
			}
			room, err := a.openRoom(localroom.Options{})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, room.Close()) }()
			if file {
				id, err := tokenID(room, a.env.TokenFile)
				if err != nil {
					return err
				}
				args = []string{id}
			}
			return room.Revoke(cmd.Context(), args[0])
		},
	}
	cmd.Flags().String("token-file", "", "`file` with the token")
	return cmd
}

// tokenID returns the ID of the token in a file.
func tokenID(room *localroom.Room, file string) (string, error) {
	text, err := readValue(strings.NewReader(""), file)
	if err != nil {
		return "", err
	}
	t, err := room.Verify(secret.New(bytes.TrimSpace(text.Reveal())))
	if err == nil && t.ID == "" {
		err = errors.New("the token has no ID")
	}
	if err != nil {
		return "", fmt.Errorf("revoke token in %s: %w", file, err)
	}
	return t.ID, nil
}
