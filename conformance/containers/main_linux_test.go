package containers

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hardened is what a container does without: the restricted profile of Kubernetes, a
// read-only root and little memory.
var hardened = []string{
	"--read-only", "--read-only-tmpfs=false", "--cap-drop", "all", "--security-opt", "no-new-privileges",
	"--memory", "32m", "--memory-swap", "32m", "--pids-limit", "64",
}

// waitLimit is how long anything may take that is waited for.
const waitLimit = 30 * time.Second

// A world is a room on this machine, and containers that reach it.
type world struct {
	t   *testing.T
	dir string
	url string
	env []string // of roomenv as the owner of the room
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Getenv("PODMAN") == "" {
		t.Skip("conformance/containers/run sets podman up")
	}
	w := &world{t: t, dir: t.TempDir()}
	w.env = append(os.Environ(), "ROOMENV_DATA="+filepath.Join(w.dir, "room"), "HOME="+w.dir)
	if err := os.Mkdir(filepath.Join(w.dir, "manifests"), 0o755); err != nil {
		t.Fatal(err)
	}
	return w
}

// serve serves the room until stop is called, or the test ends.
func (w *world) serve(address string) (stop func()) {
	w.t.Helper()
	cmd := exec.Command(os.Getenv("ROOMENV"), "room", "serve", "--listen", address)
	cmd.Env, cmd.Stderr = w.env, os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		w.t.Fatal(err)
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}
	w.t.Cleanup(stop)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		w.t.Fatal(err)
	}
	w.url = strings.TrimPrefix(strings.TrimSpace(line), "listening ")
	return stop
}

// roomenv runs roomenv on this machine.
func (w *world) roomenv(args ...string) string {
	w.t.Helper()
	cmd := exec.Command(os.Getenv("ROOMENV"), args...)
	cmd.Env = w.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("roomenv %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// set stores a secret for the identity of the containers.
func (w *world) set(id, value string) {
	w.t.Helper()
	w.roomenv("secret", "set", id, "--text", value, "--for-identity", "pod")
}

// write writes a file that containers see in /manifests.
func (w *world) write(name, content string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "manifests", name), []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// reach returns the flags of a container that joins the room as pod.
func (w *world) reach() []string {
	w.t.Helper()
	w.write("token", w.roomenv("room", "token", "--room", "default", "--identity", "pod"))
	return []string{
		"--network", "host", "--volume", filepath.Join(w.dir, "manifests") + ":/manifests:ro",
		"--env", "MESHAGENT_ROOM=default", "--env", "MESHAGENT_ROOM_URL=" + w.url, "--env", "ROOMENV_TOKEN_FILE=/manifests/token",
	}
}

// podman runs podman and returns its output and exit code, which is -1 if it takes too
// long.
func podman(args ...string) (stdout, stderr string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*waitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Getenv("PODMAN"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		return "", err.Error(), -1
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must is podman with exit code 0.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := podman(args...)
	if code != 0 {
		t.Fatalf("podman %q: exit code %d\n%s%s", args, code, out, errs)
	}
	return strings.TrimSpace(out)
}

// start starts a container in the background, which is removed when the test ends.
func start(t *testing.T, args ...string) (id string) {
	t.Helper()
	id = must(t, append([]string{"run", "--detach"}, args...)...)
	t.Cleanup(func() {
		if t.Failed() {
			out, errs, _ := podman("logs", id)
			t.Logf("%q printed:\n%s%s", args, out, errs)
		}
		podman("rm", "--force", "--time", "0", id)
	})
	return id
}

// await waits until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(waitLimit); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", waitLimit, what)
		}
		time.Sleep(20 * time.Millisecond) // a container tells nobody of its progress
	}
}

// memory makes a tmpfs as an emptyDir of a pod is: it belongs to root, and to the group.
func memory(t *testing.T, group int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, fmt.Sprintf("size=1m,mode=2770,gid=%d", group)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}
