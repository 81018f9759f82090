package peercred_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/internal/peercred"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// listen returns the path of a socket that greets whom it takes.
func listen(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "peer")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	// Open to all, so that nothing but the listener refuses them.
	if err := errors.Join(os.Chmod(dir, 0o711), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := peercred.Listener{UnixListener: l}.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "hello")
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		_ = os.RemoveAll(dir)
	})
	return path
}

// greeting connects as a user and returns what comes, and who listens.
func greeting(path string, uid int) (text string, pid int, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if uid != os.Geteuid() {
			runtime.LockOSThread() // the thread ends with the goroutine, as it is not unlocked
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
				err = errno
				return
			}
		}
		var conn net.Conn
		if conn, err = net.Dial("unix", path); err != nil {
			return
		}
		defer conn.Close()
		pid, _ = peercred.Check(conn.(*net.UnixConn))
		b, _ := io.ReadAll(conn)
		text = string(b)
	}()
	<-done
	return text, pid, err
}

func TestSameUser(t *testing.T) {
	text, pid, err := greeting(listen(t), os.Geteuid())
	if text != "hello" || pid != os.Getpid() || err != nil {
		t.Errorf("got %q of process %d, error %v", text, pid, err)
	}
}

func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("takes root to be another user")
	}
	path := listen(t)
	if text, _, err := greeting(path, 65534); text != "" || err != nil {
		t.Errorf("got %q, error %v", text, err)
	}
	if text, _, err := greeting(path, 0); text != "hello" || err != nil {
		t.Errorf("then got %q, error %v", text, err)
	}
}
