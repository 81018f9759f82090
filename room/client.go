// Package room is a client of the Room API: secrets and participants of a room, over
// one WebSocket. Section numbers in this package are those of docs/room-api.md.
//
// A [Client] stays connected: it reconnects with exponential backoff, and calls wait
// for that as long as their contexts allow.
package room

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/roomenv/roomenv/internal/notify"
	"github.com/roomenv/roomenv/internal/retry"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

const (
	// dialTimeout bounds [Dial] when its context has no deadline.
	dialTimeout = 30 * time.Second
	// dialAttempts bounds [Dial] where more would only delay the error.
	dialAttempts = 3

	// A connection has worked if it answered a call and lasted for steadyTime, or
	// lasted for longTime: the backoff starts again after it. One that a room drops at
	// once does not count.
	steadyTime = time.Second
	longTime   = 30 * time.Second
)

// Config says which room to enter, and as whom.
type Config struct {
	// URL is {base}/rooms/{name}; its scheme is http, https, ws or wss.
	// Errors and logs leave out its query.
	URL string
	// Token returns the participant token. It is called for each attempt to connect;
	// nil sends no token.
	Token func(context.Context) (secret.Value, error)
	// DialContext connects. Nil is TCP, through the proxy of the environment. [Dial]
	// does not repeat an attempt that fails with an error other than a [net.Error].
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
	// Failover is how long processes that serve the room in turn may take to replace one
	// another, as those of the local room: [Dial] makes attempts for so long at least,
	// and no attempt waits for long while an outage is short. 0 is for other rooms.
	Failover time.Duration
	// OnSecretRequested and OnOAuthRequested handle requests of other participants,
	// which are rejected, with the reason [NoHandler], where there is no handler.
	// Handlers run one at a time, in the order the room sent, and may use the client.
	// They should return soon: while one runs up to 1,024 requests and 16 MiB of them
	// wait, and more are dropped and logged. The context ends with the client, which
	// waits for its handlers. A handler can run before [Dial] has returned.
	OnSecretRequested func(context.Context, *Client, SecretRequested)
	OnOAuthRequested  func(context.Context, *Client, OAuthRequested)
	// Logger gets disconnects and reconnects; nil discards them.
	Logger *slog.Logger
}

// A Client is connected to a room. Its methods may be called by several goroutines at
// once; their calls share one connection, and do not wait for each other.
type Client struct {
	config    Config
	dialURL   string
	url       string // dialURL without query and user
	transport *http.Transport
	log       *slog.Logger

	ctx    context.Context // ends with the client
	cancel context.CancelFunc
	done   chan struct{}
	wg     sync.WaitGroup
	tries  int // failures since the last connection was ready; of run

	handlers   map[string]handler
	events     chan wire.Message
	eventBytes atomic.Int64
	eventsLost atomic.Bool   // since a handler last returned
	wake       chan struct{} // one slot: queue is not empty

	presence presence

	mu      sync.Mutex
	session Session
	current *connection // the last one that was ready
	used    bool        // current answered a call
	lost    error       // why there is no connection; nil if there is one
	lostAt  time.Time   // since when
	err     error       // why the client is closed
	lastID  uint64
	pending map[uint64]*request // without a response
	queue   []*request          // pending, to be written, in order of id
	streams map[string]*stream  // of the connection
}

// Dial joins a room and returns when the room is ready.
//
// After an error that may pass, such as a refused connection or the status 503, it
// makes two more attempts within about a second, or when a room says Retry-After, and
// then fails with [ErrUnreachable].
// It fails at once with [ErrForbidden], [ErrNoRoom], [ErrRoomDisabled] and
// [ErrClosed], and when ctx ends. A ctx without a deadline gets one of 30 seconds.
// ctx has no effect after Dial returned.
func Dial(ctx context.Context, config Config) (*Client, error) {
	dialURL, shown, err := roomURL(config.URL)
	if err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialTimeout)
		defer cancel()
	}
	c := &Client{
		config:    config,
		dialURL:   dialURL,
		url:       shown,
		transport: newTransport(config),
		log:       config.Logger,
		done:      make(chan struct{}),
		handlers:  config.handlers(),
		events:    make(chan wire.Message, maxEvents),
		wake:      notify.Slot(),
		pending:   make(map[uint64]*request),
		streams:   make(map[string]*stream),
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.log = c.log.With("room", shown)
	if cleartext(config, dialURL) {
		c.log.Warn("token and secrets are sent without TLS")
	}
	attempts, start, b := 0, time.Now(), c.backoff()
	k, err := c.connect(ctx, &b, func(err error) bool {
		attempts++
		return (attempts < dialAttempts || time.Since(start) < config.Failover) && mayPass(err)
	})
	if err != nil {
		return nil, err
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.wg.Go(func() { c.run(k) })
	c.wg.Go(c.handleEvents)
	c.wg.Go(c.keepMessaging)
	return c, nil
}

// Close leaves the room, and returns when no goroutine of the client runs, so a handler
// must not call it. Calls without a response fail with [ErrClosed].
func (c *Client) Close() error {
	c.cancel()
	c.wg.Wait()
	return nil
}

// Done is closed when the client is closed for good.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns why the client is closed for good: [ErrClosed], [ErrForbidden],
// [ErrNoRoom] or [ErrRoomDisabled]. Before, it is nil.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Session describes the current connection or, without one, the last.
func (c *Client) Session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// Disconnected returns since when there is no connection, and why. The error is nil if
// there is one.
func (c *Client) Disconnected() (since time.Time, reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lostAt, c.lost
}

// Reconnect replaces the connection, if there is one, by a new one with a new token.
// For calls it is as if the connection had dropped.
func (c *Client) Reconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	notify.Send(c.current.renew)
}

// errRenew closes a connection that [Client.Reconnect] replaces.
var errRenew = errors.New("connection renewed")

// connect makes attempts until a room is ready, paced by b, for as long as the
// errors are not final and may be followed by another attempt.
func (c *Client) connect(ctx context.Context, b *retry.Backoff, again func(error) bool) (*connection, error) {
	var last error
	for {
		k, err := c.attempt(ctx)
		switch {
		case err == nil:
			return k, nil
		case ctx.Err() != nil && last != nil && !final(err): // err says nothing new
			return nil, c.annotate(fmt.Errorf("%w (%w)", last, ctx.Err()))
		case final(err) || ctx.Err() != nil || !again(err):
			return nil, c.annotate(err)
		}
		c.logDisconnect(err)
		after := retry.After(err)
		if end, ok := ctx.Deadline(); ok && time.Until(end) < after {
			return nil, c.annotate(err)
		}
		if b.WaitAfter(ctx, after) != nil {
			return nil, c.annotate(fmt.Errorf("%w (%w)", err, ctx.Err()))
		}
		last = err
	}
}

// attempt makes one attempt to open a connection and to enter the room.
func (c *Client) attempt(ctx context.Context) (*connection, error) {
	k, err := c.handshake(ctx)
	if err != nil {
		return nil, err
	}
	if err := k.enter(ctx, c.event); err != nil {
		k.close(false)
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session, c.current, c.used = k.session, k, false
	c.lost, c.lostAt = nil, time.Time{}
	return k, nil
}

// annotate adds the address of the room, and [ErrUnreachable] unless err is final.
func (c *Client) annotate(err error) error {
	if final(err) {
		return fmt.Errorf("%s: %w", c.url, err)
	}
	return fmt.Errorf("%w at %s: %w", ErrUnreachable, c.url, err)
}

// lose notes why there is no connection. Client.mu is held.
func (c *Client) lose(err error) {
	c.lost = err
	if c.lostAt.IsZero() {
		c.lostAt = time.Now()
	}
}

// logDisconnect notes why there is no connection. The first failure is often followed
// by a reconnect at once, as when the local room fails over, so an outage is one
// warning. Dial returns its errors, and logs them for debugging only.
func (c *Client) logDisconnect(err error) {
	c.mu.Lock()
	c.lose(err)
	c.mu.Unlock()
	level := slog.LevelDebug
	if c.ctx != nil && !errors.Is(err, errRenew) {
		switch c.tries++; c.tries {
		case 1:
			level = slog.LevelInfo
		case c.warnAt():
			level = slog.LevelWarn
		}
	}
	c.log.Log(context.Background(), level, "disconnected", "error", err, "attempt", c.tries)
}

// warnAt is the number of failures in a row that are an outage.
func (c *Client) warnAt() int {
	if c.config.Failover > 0 {
		return 10
	}
	return 2
}

// run keeps the client connected until it ends.
func (c *Client) run(k *connection) {
	defer c.cancel()
	b := c.backoff()
	always := func(error) bool { return true }
	for {
		since := time.Now()
		err := c.serve(k)
		if c.worked(time.Since(since)) {
			b.Reset()
		}
		c.presence.change(c.presence.off)
		c.requeue()
		if !final(err) && c.ctx.Err() == nil {
			c.logDisconnect(err)
			if errors.Is(err, errRenew) || b.Wait(c.ctx) == nil {
				k, err = c.connect(c.ctx, &b, always)
			}
		}
		if err != nil {
			if c.ctx.Err() != nil {
				err = ErrClosed
			}
			c.end(err)
			return
		}
		c.tries = 0
		c.log.Info("reconnected")
	}
}

// backoff paces attempts to connect.
func (c *Client) backoff() retry.Backoff {
	b := retry.Outage()
	if c.config.Failover > 0 {
		b.Min, b.Soon = 10*time.Millisecond, 250*time.Millisecond
	}
	return b
}

// worked reports whether the connection that lasted for d was of use.
func (c *Client) worked(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return d > longTime || c.used && d >= steadyTime
}

// serve uses k until it drops, and returns why.
func (c *Client) serve(k *connection) error {
	g, ctx := errgroup.WithContext(c.ctx)
	g.Go(func() error { return c.read(k) })
	g.Go(func() error { return c.write(ctx, k) })
	g.Go(func() error { return k.ping(ctx) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-k.renew:
			return errRenew
		}
	})
	g.Go(func() error {
		<-ctx.Done()
		k.close(c.ctx.Err() != nil)
		return nil
	})
	return g.Wait()
}
