package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/roomenv/roomenv/internal/peercred"
	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/runner"
)

const (
	clientTimeout = 5 * time.Second
	maxStatus     = 64 << 20
)

// A Process is one that serves its status.
type Process struct {
	PID  int // as this process sees it: 0 in another PID namespace
	path string
	user []uint32 // who serves it, if not this user or root
}

// Find returns the processes of this user that serve their status, and for root those of
// all users.
func Find(ctx context.Context) (found []Process) {
	for _, path := range append(tmpfs.Sockets(socket), abstractSockets()...) {
		p := Process{path: path}
		if os.Geteuid() == 0 {
			p.user = owner(filepath.Dir(path))
		}
		// It fails for a process that was killed, and for one of another user.
		conn, err := p.dial(ctx)
		if err != nil {
			continue
		}
		p.PID, _ = peercred.Check(conn, p.user...)
		conn.Close()
		found = append(found, p)
	}
	return found
}

// At returns the process that serves its status in dir ([ServeIn]), of any user.
func At(dir string) Process { return Process{path: filepath.Join(dir, socket), user: owner(dir)} }

// owner returns the user of a directory that other users cannot write to.
func owner(dir string) []uint32 {
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o022 != 0 {
		return nil
	}
	return []uint32{info.Sys().(*syscall.Stat_t).Uid}
}

// Status returns the status of the process.
func (p Process) Status(ctx context.Context) (runner.Status, error) {
	var s runner.Status
	err := p.do(ctx, http.MethodGet, "/status", http.StatusOK, func(body io.Reader) error {
		return json.NewDecoder(body).Decode(&s)
	})
	return s, err
}

// Refresh has the process refresh all its values, which it has begun when Refresh
// returns.
func (p Process) Refresh(ctx context.Context) error {
	return p.do(ctx, http.MethodPost, "/refresh", http.StatusAccepted, func(io.Reader) error { return nil })
}

// Exited reports whether an error of a [Process] says that it has exited.
func Exited(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

func (p Process) do(ctx context.Context, method, path string, want int, read func(io.Reader) error) error {
	client := http.Client{Timeout: clientTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://roomenv"+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err == nil {
		defer response.Body.Close()
		if response.StatusCode != want {
			err = errors.New(response.Status)
		} else {
			err = read(io.LimitReader(response.Body, maxStatus))
		}
	}
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err // without the address, which is not one
		if asked.Timeout() {
			err = fmt.Errorf("timed out: %w", err)
		}
	}
	if err != nil {
		if p.PID == 0 {
			return fmt.Errorf("query %s: %w", p.path, err)
		}
		return fmt.Errorf("query process %d: %w", p.PID, err)
	}
	return nil
}

func (p Process) dial(ctx context.Context) (*net.UnixConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", p.path)
	if err != nil {
		return nil, err
	}
	if _, err := peercred.Check(conn.(*net.UnixConn), p.user...); err != nil {
		conn.Close()
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}
