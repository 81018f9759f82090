package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/room/token"
)

func newRoom(a *app) *cobra.Command {
	cmd := group("room", "Serve the local room, and mint tokens for it", newRoomServe(a), newRoomToken(a))
	a.dataFlag(cmd.PersistentFlags())
	return cmd
}

func newRoomServe(a *app) *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "serve --listen ADDR [--data DIR]",
		Short: "Serve the local room on the network",
		Long: `serve opens the local room to the network until it gets SIGINT or SIGTERM. When
it is ready it prints "listening http://HOST:PORT" on stdout. It speaks HTTP
without TLS: listen on loopback, or put a proxy with TLS in front of it.

Participants need a token: one of ` + "`roomenv room token`" + `, or one that is signed with
MESHAGENT_API_KEY or MESHAGENT_SECRET when that is set.`,
		Example: "  roomenv room serve --listen 127.0.0.1:8078 --data ./room",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			room, err := a.openRoom()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, room.Close()) }()
			if err := room.Acquire(); err != nil {
				return err
			}
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return fmt.Errorf("cannot serve the room: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "listening http://%s\n", listener.Addr())
			return room.Serve(cmd.Context(), listener)
		},
	}
	cmd.Flags().StringVar(&address, "listen", "", "`ADDR`ess to listen on, as 127.0.0.1:8078; port 0 takes a free one")
	_ = cmd.MarkFlagRequired("listen")
	return cmd
}

func newRoomToken(a *app) *cobra.Command {
	var t token.Token
	var admin bool
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use:   "token --room R --identity NAME [--role user|agent|tool] [--admin] [--ttl 1h] [--data DIR]",
		Short: "Print a participant token for the local room",
		Long: `token prints a token with which NAME may join the room R of the local room and
use the secrets that are its own. An admin may store secrets for others too.`,
		Example: `  export MESHAGENT_ROOM=demo MESHAGENT_ROOM_URL=http://127.0.0.1:8078
  export MESHAGENT_TOKEN=$(roomenv room token --data ./room --room demo --identity alice)`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			roles := []string{token.User, token.Agent, token.Tool}
			switch {
			case !slices.Contains(roles, t.Role):
				return hint(fmt.Errorf("cannot mint a token for the role %q", t.Role), "roles are user, agent and tool")
			case lifetime <= 0:
				return hint(fmt.Errorf("cannot mint a token that is good for %s", lifetime), "give --ttl a duration such as 1h or 15m")
			}
			room, err := a.openRoom()
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
	f.StringVar(&t.Room, "room", "", "the room that may be joined")
	f.StringVar(&t.Name, "identity", "", "`NAME` of the participant")
	f.StringVar(&t.Role, "role", token.User, "user, agent or tool")
	f.BoolVar(&admin, "admin", false, "allow to store secrets for others")
	f.DurationVar(&lifetime, "ttl", time.Hour, "how long the token is good for")
	_ = cmd.MarkFlagRequired("room")
	_ = cmd.MarkFlagRequired("identity")
	return cmd
}
