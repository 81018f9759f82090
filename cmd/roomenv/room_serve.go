package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/filewatch"
	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/retry"
	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/room/token"
)

// A roomServer is what the flags of `roomenv room serve` say.
type roomServer struct {
	*app
	address string
	options localroom.Options
	private bool // --private-providers
	quota   int  // MiB

	cert, key string
	audit     string
	auditSync bool

	room *localroom.Room
}

func newRoomServe(a *app) *cobra.Command {
	s := &roomServer{app: a}
	cmd := &cobra.Command{
		Use:   "serve --listen HOST:PORT [--tls-cert FILE --tls-key FILE] [--audit FILE] [--data DIR]",
		Short: "Serve the local room on the network",
		Long: `Serve the local room on the network until SIGINT or SIGTERM. When it is ready it
prints "listening http://HOST:PORT" on stdout. Without --tls-cert it speaks HTTP without
TLS: listen on loopback, or put a proxy with TLS in front of it. It reads certificate and
key again when the files change.

Unless it listens on loopback, the room calls OAuth providers at public addresses only,
so that participants cannot reach the network of this machine through it. Pass
--private-providers=false for a room on loopback with a proxy in front of it.

Participants need a token: from ` + "`roomenv room token`" + `, or signed with
MESHAGENT_API_KEY or MESHAGENT_SECRET if that is set.

--audit appends a JSON object for each join, call and revocation, without values. With
--audit-sync it is on disk before the participant gets a response, and a call that
cannot be recorded fails.

One identity can use a quarter of the connections. Processes of this machine that use
the room without a token have connections of their own.`,
		Example: `  roomenv room serve --listen 127.0.0.1:8078 --data ./room
  roomenv room serve --listen :443 --tls-cert cert.pem --tls-key key.pem --audit audit.log`,
		Args: cobra.NoArgs,
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
	s.quota = localroom.DefaultQuota >> 20
	parsedFlag(f, &s.quota, "quota",
		fmt.Sprintf("maximum `MiB` that each identity stores from the network, with 1 KiB for each secret; 0 removes the limit (default %d)", s.quota), notNegative)
	f.StringVar(&s.cert, "tls-cert", "", "`file` with the TLS certificate and its chain, in PEM")
	f.StringVar(&s.key, "tls-key", "", "`file` with the key of the certificate, in PEM")
	f.StringVar(&s.audit, "audit", "", "append an audit log to `file`")
	f.BoolVar(&s.auditSync, "audit-sync", false, "sync the audit log before each response; fail if that is not possible")
	return cmd
}

func positive(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		err = errors.New("want a number above 0")
	}
	return n, err
}

func notNegative(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > math.MaxInt>>20 {
		err = errors.New("want a number of MiB, or 0")
	}
	return n, err
}

// run serves the room until the command is interrupted.
func (s *roomServer) run(cmd *cobra.Command) (err error) {
	ctx := cmd.Context()
	switch {
	case (s.cert == "") != (s.key == ""):
		return seeHelp(cmd, errors.New("--tls-cert requires --tls-key, and vice versa"))
	case s.auditSync && s.audit == "":
		return seeHelp(cmd, errors.New("--audit-sync requires --audit"))
	}
	if s.env.APIKey.Len() > 0 {
		if _, err := token.ParseAPIKey(s.env.APIKey); err != nil {
			return fmt.Errorf("MESHAGENT_API_KEY: %w", err)
		}
	}
	if n := s.Secret.Len(); n > 0 && n < sha256.Size { // RFC 7518, 3.2
		s.report(os.Stderr, hint(fmt.Errorf("MESHAGENT_SECRET has %s: tokens that it signs can be forged by guessing it", text.Count(n, "byte", "bytes")),
			fmt.Sprintf("use at least %d random bytes", sha256.Size)))
	}
	var tlsConfig *tls.Config
	scheme := "http"
	if s.cert != "" {
		var watching sync.WaitGroup
		defer watching.Wait()
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		c := &certificate{cert: s.cert, key: s.key, log: s.log}
		files := filewatch.New(c.cert, c.key) // before they are read
		if err := c.load(); err != nil {
			return err
		}
		watching.Go(func() { files.Watch(ctx, c.reload) })
		tlsConfig, scheme = &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}, "https"
	}
	listener, err := s.listen()
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	if ip := listener.Addr().(*net.TCPAddr).IP; tlsConfig == nil && !ip.IsLoopback() {
		s.report(os.Stderr, hint(errors.New("the room is reachable from the network without TLS: others can read tokens and secrets"),
			"pass --tls-cert and --tls-key, or listen on loopback and put a proxy with TLS in front of it"))
	}
	if s.audit != "" {
		log, err := localroom.OpenAudit(s.audit, s.auditSync)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		s.options.Server.Audit = log
	}
	s.options.Server.Quota = int64(s.quota) << 20
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
	fmt.Fprintf(cmd.OutOrStdout(), "listening %s://%s\n", scheme, s.address)
	for {
		// A process that is stopped, as by Ctrl-Z, releases the room first.
		if err := s.room.Serve(ctx, listener, tlsConfig); err != nil || ctx.Err() != nil {
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

// A certificate is the latest valid content of two files.
type certificate struct {
	cert, key string
	log       *slog.Logger
	current   atomic.Pointer[tls.Certificate]
}

func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("read TLS certificate: %w", err)
	}
	c.current.Store(&pair)
	return nil
}

// reload keeps the previous certificate while the files do not belong together, as when
// one of them is replaced before the other.
func (c *certificate) reload() {
	if err := c.load(); err != nil {
		c.log.Warn("TLS certificate not reloaded", "error", err)
		return
	}
	c.log.Info("TLS certificate reloaded")
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}
