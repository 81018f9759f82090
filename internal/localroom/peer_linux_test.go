package localroom_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Whoever is not of the same user is not let in, even if the socket is open to
// all.
func TestOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("takes root to be another user")
	}
	dir, err := os.MkdirTemp("", "room")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	e := openRoom(t, dir)
	if err := e.Acquire(); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "room.sock")
	if err := errors.Join(os.Chmod(dir, 0o711), os.Chmod(socket, 0o666)); err != nil {
		t.Fatal(err)
	}
	ask := func(uid uintptr) (string, error) {
		type answer struct {
			text string
			err  error
		}
		answers := make(chan answer)
		asUser(uid, func(err error) {
			var conn net.Conn
			if err == nil {
				conn, err = net.Dial("unix", socket)
			}
			if err != nil {
				answers <- answer{"", err}
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
			b, _ := io.ReadAll(conn)
			answers <- answer{string(b), nil}
		})
		a := next(t, answers)
		return a.text, a.err
	}
	if got, err := ask(0); err != nil || !strings.Contains(got, "200 OK") {
		t.Errorf("the same user gets %q, error %v", got, err)
	}
	if got, err := ask(65534); err != nil || got != "" {
		t.Errorf("another user gets %q, error %v", got, err)
	}
}

// asUser calls f on a thread of another user.
func asUser(uid uintptr, f func(err error)) {
	go func() {
		// The thread ends with the goroutine, as it is not unlocked.
		runtime.LockOSThread()
		var err error
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, uid, uid, uid); errno != 0 {
			err = errno
		}
		f(err)
	}()
}

// A token goes to no process of another user that listens where the room should.
func TestSocketOfOtherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("takes root to be another user")
	}
	dir, err := os.MkdirTemp("", "room")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	e := openRoom(t, dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		l   net.Listener
		err error
	}
	listening := make(chan answer, 1)
	asUser(65534, func(err error) {
		var l net.Listener
		if err == nil {
			l, err = net.Listen("unix", filepath.Join(dir, "room.sock"))
		}
		listening <- answer{l, err}
	})
	a := next(t, listening)
	if a.err != nil {
		t.Fatal(a.err)
	}
	defer a.l.Close()
	if conn, err := e.DialContext(t.Context(), "", ""); err == nil {
		conn.Close()
		t.Error("connected to a process of another user")
	} else if !strings.Contains(err.Error(), "user 65534") {
		t.Error(err)
	}
}
