package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room/token"
)

func newRoom(a *app) *cobra.Command {
	cmd := group("room", "Serve, back up and check the local room, and issue tokens for it",
		newRoomServe(a), newRoomToken(a), newRoomCheck(a), newRoomBackup(a), newRoomRestore(a), newRoomRecover(a), newRoomCompact(a), newRoomKey(a))
	a.dataFlag(cmd.PersistentFlags())
	return cmd
}

func newRoomToken(a *app) *cobra.Command {
	var t token.Token
	var admin bool
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use:   "token --room ROOM --identity NAME [--role user|agent|tool] [--admin] [--ttl 1h] [--data DIR]",
		Short: "Print a participant token for the local room",
		Long: `Print a token that lets NAME join ROOM in the local room and use its own secrets.
An admin may store secrets for other identities too.`,
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
			signed, err := room.Sign(t)
			if err != nil {
				return err
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
	return cmd
}
