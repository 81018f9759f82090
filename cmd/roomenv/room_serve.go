package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/retry"
	"github.com/roomenv/roomenv/room/token"
)

// A roomServer is what the flags of `roomenv room serve` say.
type roomServer struct {
	*app
	address string
	options localroom.Options
	private bool // --private-providers

	room *localroom.Room
}

func newRoomServe(a *app) *cobra.Command {
	s := &roomServer{app: a}
	cmd := &cobra.Command{
		Use:   "serve --listen HOST:PORT [--data DIR]",
		Short: "Serve the local room on the network",
		Long: `Serve the local room on the network until SIGINT or SIGTERM. When it is ready it
prints "listening http://HOST:PORT" on stdout. It speaks HTTP without TLS: listen on
loopback, or put a proxy with TLS in front of it.

Unless it listens on loopback, the room calls OAuth providers at public addresses only,
so that participants cannot reach the network of this machine through it. Pass
--private-providers=false for a room on loopback with a proxy in front of it.

Participants need a token: from ` + "`roomenv room token`" + `, or signed with
MESHAGENT_API_KEY or MESHAGENT_SECRET if that is set.

One identity can use a quarter of the connections. Processes of this machine that use
the room without a token have connections of their own.`,
		Example: "  roomenv room serve --listen 127.0.0.1:8078 --data ./room",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return s.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.address, "listen", "", "`host:port` to listen on; port 0 selects a free port")
	_ = cmd.MarkFlagRequired("listen")
	f.BoolVar(&s.private, "private-providers", false, "call OAuth providers at private and loopback addresses too (default true with --listen on loopback)")
	parsedFlag(f, &s.options.Server.MaxConnections, "max-connections",
		fmt.Sprintf("maximum `number` of connections from the network (default %d)", localroom.DefaultMaxConnections), positive)
	return cmd
}

func positive(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		err = errors.New("want a number above 0")
	}
	return n, err
}

// run serves the room until the command is interrupted.
func (s *roomServer) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	if s.env.APIKey.Len() > 0 {
		if _, err := token.ParseAPIKey(s.env.APIKey); err != nil {
			return fmt.Errorf("MESHAGENT_API_KEY: %w", err)
		}
	}
	listener, err := s.listen()
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	if !cmd.Flags().Changed("private-providers") {
		s.private = listener.Addr().(*net.TCPAddr).IP.IsLoopback()
	}
	s.options.Server.PublicProviders = !s.private
	if s.room, err = s.openRoom(s.options); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.room.Close()) }()
	if err := s.room.Acquire(); err != nil {
		return err
	}
	s.address = listener.Addr().String()
	fmt.Fprintf(cmd.OutOrStdout(), "listening http://%s\n", s.address)
	for {
		// A process that is stopped, as by Ctrl-Z, releases the room first.
		if err := s.room.Serve(ctx, listener); err != nil || ctx.Err() != nil {
			return err
		}
		if err := s.acquireAgain(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		if listener, err = s.listen(); err != nil {
			return err
		}
	}
}

func (s *roomServer) listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return nil, fmt.Errorf("serve room: %w", err)
	}
	return listener, nil
}

// acquireAgain returns when this process is the leader again, or ctx ends.
func (s *roomServer) acquireAgain(ctx context.Context) error {
	backoff := retry.Backoff{Min: 10 * time.Millisecond, Max: time.Second}
	for warned := false; ; {
		err := s.room.Acquire()
		switch {
		case !errors.Is(err, localroom.ErrLocked):
			return err
		case backoff.Failures() > 5 && !warned:
			warned = true
			s.log.Warn("not serving the network until the room is free", "error", err)
		}
		if backoff.Wait(ctx) != nil {
			return nil
		}
	}
}
