package status_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/status"
)

// asUser calls f as another user: only the thread of f is one.
func asUser(t *testing.T, uid uintptr, f func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("takes root to be another user")
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // it ends with the goroutine
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uid, uid, uid); errno != 0 {
			done <- errno
			return
		}
		done <- f()
	}()
	return <-done
}

// Other users get no answer, even where a mode would let them in.
func TestOtherUser(t *testing.T) {
	runtimeFolder(t)
	s, err := status.Serve(report, func() { t.Error("refreshed") }, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	socket := find(t)[0].Path()
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(socket); dir != "/dev/shm"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err = asUser(t, 65534, func() error {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = conn.Write([]byte("POST /refresh HTTP/1.0\r\nHost: x\r\n\r\n"))
		if n, _ := conn.Read(make([]byte, 1)); n > 0 {
			t.Error("there is an answer")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// answering serves a socket in the place of that of a process.
func answering(t *testing.T, l net.Listener, err error, answer http.HandlerFunc) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	server := http.Server{ReadHeaderTimeout: time.Minute, Handler: answer}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
}

// answer answers with code and nothing.
func answer(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte("{}"))
	}
}

// socketPath is where a process would have its socket.
func socketPath(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "roomenv", "run-TEST")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "status.sock")
}

// A process of another user is not found, wherever its socket is.
func TestOtherServer(t *testing.T) {
	runtimeFolder(t)
	path := socketPath(t)
	for dir := filepath.Dir(path); dir != "/dev/shm"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	var l net.Listener
	err := asUser(t, 65534, func() (err error) {
		l, err = new(net.ListenConfig).Listen(context.Background(), "unix", path)
		return err
	})
	answering(t, l, err, answer(http.StatusOK))
	if found := find(t); len(found) != 0 {
		t.Errorf("found %v", found)
	}
}

// An answer that refuses is an error.
func TestRefusal(t *testing.T) {
	runtimeFolder(t)
	l, err := net.Listen("unix", socketPath(t))
	answering(t, l, err, answer(http.StatusServiceUnavailable))
	p := find(t)[0]
	_, statusErr := p.Status(t.Context())
	for _, err := range []error{statusErr, p.Refresh(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "503") || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	}
}

// An answer without an end is not read for ever, nor into memory.
func TestEndlessAnswer(t *testing.T) {
	runtimeFolder(t)
	l, err := net.Listen("unix", socketPath(t))
	sent := make(chan int, 1)
	answering(t, l, err, func(w http.ResponseWriter, _ *http.Request) {
		n, err := w.Write([]byte(`{"command":"`))
		for more := 0; err == nil && n < 256<<20; n += more {
			more, err = w.Write(bytes.Repeat([]byte("x"), 1<<20))
		}
		sent <- n
	})
	if _, err := find(t)[0].Status(t.Context()); err == nil {
		t.Error("there is a status")
	}
	if n := <-sent; n > 80<<20 {
		t.Errorf("%d MiB were read", n>>20)
	}
}
