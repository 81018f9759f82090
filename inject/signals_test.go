package inject_test

import (
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSignalsReachTheChildOnce(t *testing.T) {
	w := wrap(t, []string{"CHILD_ROLE=reporter"}, self(t))
	w.expect(t, "ready")
	for n := syscall.Signal(1); n < 32; n++ {
		switch n {
		case unix.SIGKILL, unix.SIGSTOP, unix.SIGTSTP: // stop or end
		case unix.SIGURG, unix.SIGPROF, unix.SIGCHLD, unix.SIGPIPE: // not forwarded
			w.signal(t, n)
		case unix.SIGTERM, unix.SIGINT: // the reporter's end
		default:
			w.signal(t, n)
			w.expect(t, "got "+unix.SignalName(n))
		}
	}
	w.signal(t, unix.SIGTERM)
	w.end(t, "got SIGTERM\n", 42)
}

func TestRealTimeSignal(t *testing.T) {
	w := wrap(t, nil, "/bin/sh", "-c", "echo ready; read x")
	w.expect(t, "ready")
	w.signal(t, syscall.Signal(40))
	w.end(t, "", 128+40)
}

// gated starts roomenv with a gate before the child.
func gated(t *testing.T, env []string, args ...string) (w *wrapper, gate *os.File) {
	t.Helper()
	r, gate, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = gate.Close() })
	w = command(t, append(env, "WAIT=1"), args...)
	w.ExtraFiles = []*os.File{r}
	w.start(t)
	_ = r.Close()
	w.expect(t, "caught")
	return w, gate
}

func TestSignalBeforeStartEndsRoomenv(t *testing.T) {
	for _, s := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT} {
		w, gate := gated(t, nil, "/bin/sh", "-c", "echo started")
		w.signal(t, s)
		_ = gate.Close()
		w.end(t, "interrupted\n", 128+int(s))
	}
}

func TestSignalBeforeStartIsKept(t *testing.T) {
	w, gate := gated(t, nil, "/bin/sh", "-c", "read x")
	w.signal(t, unix.SIGUSR1)
	w.signal(t, unix.SIGPIPE)
	if _, err := gate.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	w.end(t, "", 128+int(unix.SIGUSR1))
}

// TestNohup ignores SIGHUP as nohup does.
func TestNohup(t *testing.T) {
	w := command(t, nil)
	w.Path, w.Args = "/bin/sh", []string{"sh", "-c", `trap '' HUP CHLD; exec "$0" "$@"`, self(t),
		"/bin/sh", "-c", `echo ready; read x; kill -HUP $$; echo alive; exit 6`}
	w.start(t)
	w.expect(t, "ready")
	w.signal(t, unix.SIGHUP)
	_ = w.stdin.Close()
	w.end(t, "alive\n", 6)
}

func TestStdoutIsGone(t *testing.T) {
	w := wrap(t, nil, "/bin/sh", "-c", "echo ready; read x; echo gone; exit 9")
	w.expect(t, "ready")
	w.signal(t, unix.SIGPIPE)
	_ = w.stdin.Close()
	w.end(t, "gone\n", 9)
}

// TestSignalWhileSuspending has what is done before a stop take its time: a signal
// does not wait for it, and roomenv does not stop when it is about to end.
func TestSignalWhileSuspending(t *testing.T) {
	w, gate := gated(t, []string{"REPORT_SUSPEND=slow"}, "/bin/true")
	w.signal(t, unix.SIGTSTP)
	w.expect(t, "is about to stop")
	w.signal(t, unix.SIGTERM)
	w.expect(t, "interrupted")
	_ = gate.Close()
	w.end(t, "", 128+int(unix.SIGTERM))
}

// TestStopsWhileSuspending has what is done before a stop not return: roomenv stops
// for all that, and undoes it when it continues.
func TestStopsWhileSuspending(t *testing.T) {
	w, gate := gated(t, []string{"REPORT_SUSPEND=slow"}, "/bin/true")
	for range 2 {
		w.signal(t, unix.SIGTSTP)
		w.expect(t, "is about to stop")
		stopped := make(chan bool, 1)
		go func() {
			var status unix.WaitStatus
			_, err := unix.Wait4(w.Process.Pid, &status, unix.WUNTRACED, nil)
			stopped <- err == nil && status.Stopped()
		}()
		if !wait(t, stopped, "stop of roomenv") {
			t.Fatal("roomenv ended")
		}
		w.signal(t, unix.SIGCONT)
		if _, err := gate.WriteString("go\n"); err != nil {
			t.Fatal(err)
		}
		w.expect(t, "goes on")
	}
	w.signal(t, unix.SIGTERM)
	w.end(t, "interrupted\n", 128+int(unix.SIGTERM))
}
