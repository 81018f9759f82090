package inject_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAsWithout compares what a child sees with and without roomenv. The Go
// runtime raises the limit on open files for itself: the child must not have
// it.
func TestAsWithout(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	const prepare = `renice -n 5 $$ >/dev/null; ulimit -Sn 100; ulimit -c 0; umask 027; cd /; trap '' HUP INT; exec "$0" "$@"`
	const report = `ulimit -Sn; ulimit -Hn; ulimit -c; umask; pwd; ls -l /proc/$$/fd/3 >/dev/null && echo 3 is open; ` +
		`grep -E '^(SigIgn|SigBlk|NoNewPrivs)' /proc/self/status; cut -d' ' -f19 /proc/$$/stat`
	got := map[string]string{}
	for _, as := range []string{"exec", "roomenv"} {
		c := command(t, []string{role + "=" + as})
		c.Path = "/bin/sh"
		c.Args = []string{"sh", "-c", prepare, self(t), "/bin/sh", "-c", report}
		c.ExtraFiles = []*os.File{w}
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		got[as] = string(out)
	}
	if got["roomenv"] != got["exec"] || !strings.HasPrefix(got["exec"], "100\n") || !strings.Contains(got["exec"], "3 is open") {
		t.Errorf("with roomenv\n%swithout\n%s", got["roomenv"], got["exec"])
	}
}

// TestKilledRoomenvLeavesNoChild ends when nobody holds stdout any more.
func TestKilledRoomenvLeavesNoChild(t *testing.T) {
	w := wrap(t, nil, "/bin/sh", "-c", "trap '' HUP INT TERM; echo ready; read x; read y")
	w.expect(t, "ready")
	w.signal(t, unix.SIGKILL)
	w.end(t, "", -1)
}

// TestPID1 runs roomenv as the first process of a PID namespace. The child
// leaves orphans and waits until each is gone for kill -0, for which a zombie
// is still there: without reaping this does not end.
func TestPID1(t *testing.T) {
	const orphans = `i=0
		while [ $i -lt 50 ]; do
			pid=$(sh -c 'sh -c "exit 3" >/dev/null & echo $!')
			while kill -0 $pid 2>/dev/null; do :; done
			i=$((i+1))
		done
		(exit 1) & wait $!
		echo parent $PPID; kill -KILL $$`
	w := command(t, nil, "/bin/sh", "-c", orphans)
	asPID1(t, w)
	w.start(t)
	w.end(t, "parent 1\n", 137)
}

// asPID1 has w be the first process of a PID namespace.
func asPID1(t *testing.T, w *wrapper) {
	t.Helper()
	w.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	if os.Getuid() != 0 {
		w.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		w.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		w.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	probe := command(t, nil, "/bin/true")
	probe.SysProcAttr = w.SysProcAttr
	if err := probe.Run(); err != nil {
		t.Skipf("cannot make a PID namespace here: %v", err)
	}
}

// TestSupervisorAsPID1 has orphans end all the time, while a child takes the place
// of another: nobody's status goes with theirs.
func TestSupervisorAsPID1(t *testing.T) {
	const child = `(i=0; while [ $((i+=1)) -lt 5000 ]; do (sh -c "exit 3" &); done) & [ "$N" = 11 ] && { exec >&-; read x; kill $!; exit 42; }; while :; do sleep 1; done`
	for _, env := range []string{"OVERLAP=", "OVERLAP=1"} {
		w := command(t, []string{role + "=supervisor", env}, "/bin/sh", "-c", child)
		asPID1(t, w)
		w.start(t)
		w.expect(t, "updated")
		_ = w.stdin.Close()
		w.end(t, "", 42)
	}
}

func TestSubreaper(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0); err != nil {
			t.Error(err)
		}
	}()
	if _, code, err := run(t, t.Context(), sh(`pid=$(sh -c 'sh -c "exit 3" >/dev/null & echo $!')
		while kill -0 $pid 2>/dev/null; do :; done; exit 8`)); code != 8 || err != nil {
		t.Errorf("got %d, %v", code, err)
	}
	// The child ends while orphans do: its status must not go with theirs.
	for range 20 {
		if code, err := exit(t, t.Context(), sh(`(exit 3 &) & (exit 3 &) & exit 8`)); code != 8 || err != nil {
			t.Fatalf("got %d, %v", code, err)
		}
	}
	// What ended after the last child is nobody's but the test's.
	for err := error(nil); err == nil || err == unix.EINTR; {
		_, err = unix.Wait4(-1, nil, 0, nil)
	}
}
