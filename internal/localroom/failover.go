package localroom

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/peercred"
	"github.com/roomenv/roomenv/internal/retry"
)

// FailoverTimeout bounds attempts to connect while a process has locked the room and
// does not serve it.
const FailoverTimeout = 10 * time.Second

const (
	failoverMin = 5 * time.Millisecond
	failoverMax = 50 * time.Millisecond

	// stoppedTimeout is how long a stopped leader may take to continue.
	stoppedTimeout = time.Second
)

// DialContext connects to the leader, and makes this process the leader if there is
// none. It ignores network and address, and so replaces [net.Dialer.DialContext].
func (r *Room) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, FailoverTimeout)
	defer cancel()
	backoff := retry.Backoff{Min: failoverMin, Max: failoverMax}
	locked := false
	for {
		conn, err := r.connect(ctx)
		if err == nil {
			return conn, nil
		}
		// The dialer may notice the deadline before ctx does.
		late := ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)
		if !isNotListening(err) && !(locked && late) {
			return nil, fmt.Errorf("connect to room %s: %w", r.dir, err)
		}
		taken, err := r.tryAcquire()
		if taken {
			continue
		}
		if locked = errors.Is(err, ErrLocked); err != nil && !locked {
			return nil, err
		}
		if backoff.Wait(ctx) != nil {
			return nil, fmt.Errorf("connect to room %s: %w and does not serve the room: %w", r.dir, ErrLocked, ctx.Err())
		}
	}
}

func (r *Room) connect(ctx context.Context) (net.Conn, error) {
	r.mu.Lock()
	l := r.leader
	r.mu.Unlock()
	if l != nil && l.alone != nil {
		return l.alone.dial(ctx)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", r.path(socketFile))
	if err != nil {
		return nil, err
	}
	pid, err := peercred.Check(conn.(*net.UnixConn))
	if err == nil {
		err = awaitRunning(ctx, pid)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// A StoppedError is a leader that does not serve its room since it is stopped, for
// example by Ctrl-Z. It is no [net.Error]: it does not pass soon.
type StoppedError struct{ PID int }

func (e *StoppedError) Error() string {
	return fmt.Sprintf("the process that serves the room is stopped: pid %d", e.PID)
}

// awaitRunning fails if the process pid is stopped and does not continue soon.
func awaitRunning(ctx context.Context, pid int) error {
	if pid == 0 || !peercred.Stopped(pid) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stoppedTimeout)
	defer cancel()
	backoff := retry.Backoff{Min: failoverMin, Max: failoverMax}
	for backoff.Wait(ctx) == nil {
		if !peercred.Stopped(pid) {
			return nil
		}
	}
	return &StoppedError{pid}
}

// isNotListening reports whether err is that of a room between two leaders: without
// a socket, with that of a leader that was killed, or with a full backlog.
func isNotListening(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EAGAIN)
}

// nameLeader adds the PID of the leader to an error that wraps [ErrLocked].
func (r *Room) nameLeader(err error) error {
	if errors.Is(err, ErrLocked) {
		if pid := r.leaderPID(); pid != 0 {
			return fmt.Errorf("%w: pid %d", err, pid)
		}
	}
	return err
}

// leaderPID returns 0 if it is not known.
func (r *Room) leaderPID() int {
	conn, err := net.Dial("unix", r.path(socketFile))
	if err != nil {
		return 0
	}
	defer conn.Close()
	pid, _ := peercred.Check(conn.(*net.UnixConn))
	return pid
}

// ask sends a request to the leader, which may be this process, and again if the leader
// exits before it responds. An error has what the leader says.
func (r *Room) ask(ctx context.Context, method, path, body string) (*http.Response, error) {
	transport := &http.Transport{DialContext: r.DialContext, DisableKeepAlives: true}
	waiting, cancel := context.WithTimeout(ctx, FailoverTimeout)
	defer cancel()
	backoff := retry.Backoff{Min: failoverMin, Max: failoverMax}
	for {
		request, err := http.NewRequestWithContext(ctx, method, "http://local"+path, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		response, err := transport.RoundTrip(request)
		switch {
		case err == nil && response.StatusCode == http.StatusOK:
			return response, nil
		case err == nil:
			said, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
			_ = response.Body.Close()
			return nil, errors.New(strings.TrimSpace(string(said)))
		case !hasExited(err) || backoff.Wait(waiting) != nil:
			return nil, err
		}
	}
}

// hasExited reports whether err is that of a process which exits during a request.
func hasExited(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}
