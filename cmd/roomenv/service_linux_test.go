package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNotifyService has a command report to a service manager that takes reports of the
// main process alone, which is roomenv.
func TestNotifyService(t *testing.T) {
	t.Parallel()
	r := newRotated(t, "version: 1\n")
	manager, socket := newManager(t)
	cmd := r.command("roomenv", "exec", "--", "child", "notify", "READY=1\nMAINPID=1\nSTATUS=fine", "STOPPING=1", "WATCHDOG=1\nSTOPPING=1\n", "RELOADING=1\nMONOTONIC_USEC=5")
	cmd.Env = append(cmd.Environ(), "NOTIFY_SOCKET="+socket)
	out := r.output(cmd)
	var got []string
	buf, oob := make([]byte, 4096), make([]byte, 4096)
	for len(got) < 3 {
		n, oobn, _, _, err := manager.ReadMsgUnix(buf, oob)
		if err != nil {
			t.Fatalf("got %q: %v", got, err)
		}
		sender, file := attached(t, oob[:oobn])
		if sender != cmd.Process.Pid {
			t.Errorf("%q is of process %d, not of roomenv, %d", buf[:n], sender, cmd.Process.Pid)
		}
		content, err := io.ReadAll(file)
		_ = file.Close()
		if err != nil || !strings.HasPrefix(string(content), strings.SplitN(string(buf[:n]), "\n", 2)[0]) {
			t.Errorf("%q came with a file of %q, %v", buf[:n], content, err)
		}
		got = append(got, string(buf[:n]))
	}
	if out.Scan() {
		t.Errorf("it prints %q", out.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if want := []string{"READY=1\nSTATUS=fine", "WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=5"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestNotifyPending reports who is waited for, and that the start takes as long.
func TestNotifyPending(t *testing.T) {
	t.Parallel()
	r := newRotated(t, "version: 1\nenv: {KEY: \"room:request/alice?url=x&type=text/plain&timeout=5m\"}\n")
	manager, socket := newManager(t)
	cmd := r.command("roomenv", "exec", "--", "child", "exit", "0")
	cmd.Env = append(cmd.Environ(), "NOTIFY_SOCKET="+socket)
	r.output(cmd)
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	buf := make([]byte, 4096)
	n, err := manager.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(buf[:n]); !regexp.MustCompile(`^STATUS=Waiting for alice\nEXTEND_TIMEOUT_USEC=(29\d|300)\d{6}$`).MatchString(got) {
		t.Errorf("the service manager got %q", got)
	}
}

// TestNotifySidecar reports that the files are there.
func TestNotifySidecar(t *testing.T) {
	t.Parallel()
	r := newRotated(t, "version: 1\nfiles: {key: {secret: key}}\n")
	if err := r.set(t.Context(), "key", "k1"); err != nil {
		t.Fatal(err)
	}
	manager, socket := newManager(t)
	dir := filepath.Join(r.memory, "app")
	for range 2 { // the second one adopts the files
		cmd := r.command("roomenv", "sidecar", "--dir", dir)
		cmd.Env = append(cmd.Environ(), "NOTIFY_SOCKET="+socket)
		r.output(cmd)
		buf := make([]byte, 4096)
		n, err := manager.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if content, err := os.ReadFile(filepath.Join(dir, "current", "key")); string(buf[:n]) != "READY=1" || string(content) != "k1" {
			t.Errorf("the service manager got %q with %q in the file, %v", buf[:n], content, err)
		}
		if err := errors.Join(cmd.Process.Signal(unix.SIGTERM), cmd.Wait()); err != nil {
			t.Error(err)
		}
	}
}

// newManager is the socket of a service manager, which gets the PIDs of senders.
func newManager(t *testing.T) (manager *net.UnixConn, socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "notify.sock")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = manager.Close() })
	raw, err := manager.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
				t.Error(err)
			}
		})
	}
	if err = errors.Join(err, manager.SetReadDeadline(time.Now().Add(waitLimit))); err != nil {
		t.Fatal(err)
	}
	return manager, socket
}

// attached returns what came with a message: the PID of its sender, and a file.
func attached(t *testing.T, oob []byte) (pid int, file *os.File) {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if c, err := unix.ParseUnixCredentials(&m); err == nil {
			pid = int(c.Pid)
		}
		if fds, err := unix.ParseUnixRights(&m); err == nil {
			file = os.NewFile(uintptr(fds[0]), "attached")
		}
	}
	if pid == 0 || file == nil {
		t.Fatalf("no sender or no file in %v", messages)
	}
	return pid, file
}
