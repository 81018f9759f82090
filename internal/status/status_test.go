package status_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/runner"
)

// TestMain makes a process that serves its status of the test binary too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		if _, err := status.Serve(report, func() {}, nil); err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString("ready\n")
		select {}
	}
	goleak.VerifyTestMain(m)
}

var started = time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)

func report() runner.Status {
	return runner.Status{
		PID: os.Getpid(), Ready: true, Command: "agent", Manifest: []string{".env.room"}, Rooms: []string{"demo"}, Started: started,
		State: runner.CommandRunning, Revision: 3, Restarts: 2, Rollbacks: 1, Crashes: 4, Refreshes: 5, RoomRequests: 600,
		Entries: []runner.Entry{
			{Name: "A", Kind: runner.KindVariable, Source: "room:secret/a", Required: true, Revision: 3,
				Value: runner.Value{State: fetch.Current, Confirmed: started, Expires: started.Add(time.Hour)}},
			{Name: "B", Kind: runner.KindVariable, Source: "room:request/alice?url=x&type=y",
				Value: runner.Value{State: fetch.Pending, From: "alice", Until: started.Add(time.Minute)}},
			{Name: `t\l"s`, Kind: runner.KindFile, Source: "room:secret/tls", Required: true,
				Value: runner.Value{State: fetch.Stale, Since: started, Reason: "unreachable: connection refused", Confirmed: started.Add(-time.Minute)}},
		},
	}
}

func runtimeFolder(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a tmpfs")
	}
	dir, err := os.MkdirTemp("/dev/shm", "roomenv-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
}

// find returns the processes whose sockets are in the directory of the test.
func find(t *testing.T) []status.Process {
	t.Helper()
	// Those of other directories are of processes that are not of this test.
	var mine []status.Process
	for _, p := range status.Find(t.Context()) {
		if strings.HasPrefix(p.Path(), os.Getenv("XDG_RUNTIME_DIR")) {
			mine = append(mine, p)
		}
	}
	return mine
}

func TestServe(t *testing.T) {
	runtimeFolder(t)
	refreshed := 0
	s, err := status.Serve(report, func() { refreshed++ }, nil)
	if err != nil {
		t.Fatal(err)
	}
	found := find(t)
	if len(found) != 1 || found[0].PID != os.Getpid() {
		t.Fatalf("found %v", found)
	}
	got, err := found[0].Status(t.Context())
	want := report()
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, error %v, want %+v", got, err, want)
	}
	if err := found[0].Refresh(t.Context()); err != nil || refreshed != 1 {
		t.Errorf("refreshed %d times, error %v", refreshed, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := found[0].Status(t.Context()); err == nil {
		t.Error("there is a report after the end")
	}
	if left := find(t); len(left) != 0 {
		t.Errorf("found %v after the end", left)
	}
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "roomenv", "*")); len(left) != 0 {
		t.Errorf("%v is left", left)
	}
}

// What is asked wrongly changes nothing.
func TestServeRefuses(t *testing.T) {
	runtimeFolder(t)
	s, err := status.Serve(report, func() { t.Error("refreshed") }, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	path := find(t)[0].Path()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	for request, want := range map[string]int{"GET /refresh": 405, "POST /status": 405, "GET /": 404, "GET /metrics": 404} {
		method, path, _ := strings.Cut(request, " ")
		r, _ := http.NewRequestWithContext(t.Context(), method, "http://x"+path, nil)
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %s", request, response.Status)
		}
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, error %v", info, err)
	}
	if info, err := os.Lstat(filepath.Dir(path)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its directory is %v, error %v", info, err)
	}
}

// A process that was killed is not found, and what it left is removed by the
// next one.
func TestKilled(t *testing.T) {
	runtimeFolder(t)
	cmd := exec.Command(os.Args[0], "serve")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	found := find(t)
	if len(found) != 1 || found[0].PID != cmd.Process.Pid {
		t.Errorf("found %v", found)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if left := find(t); len(left) != 0 {
		t.Errorf("found %v", left)
	}
	s, err := status.Serve(report, func() {}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if left, _ := filepath.Glob(filepath.Dir(filepath.Dir(found[0].Path())) + "/*"); len(left) != 1 {
		t.Errorf("there are %v", left)
	}
}

// A process that is stopped keeps no process waiting for ever.
func TestSilent(t *testing.T) {
	runtimeFolder(t)
	cmd := exec.Command(os.Args[0], "serve")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = cmd.Process.Kill(), cmd.Wait() }()
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(cmd.Process.Pid, nil, syscall.WUNTRACED, nil); err != nil { // until it is stopped
		t.Fatal(err)
	}
	found := find(t)
	if len(found) != 1 {
		t.Fatalf("found %v", found)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := found[0].Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestConcurrent(t *testing.T) {
	runtimeFolder(t)
	s, err := status.Serve(report, func() {}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := find(t)[0]
	var asking sync.WaitGroup
	for range 200 {
		asking.Go(func() {
			if _, err := p.Status(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
}

// The names of the JSON are what scripts rely on.
func TestJSON(t *testing.T) {
	s := report()
	s.PID = 4711
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"pid":4711,"command":"agent","manifest":[".env.room"],"rooms":["demo"],"started_at":"2026-11-23T20:00:00Z",` +
		`"state":"running","ready":true,"revision":3,"restarts":2,"rollbacks":1,"crashes":4,"refreshes":5,"room_requests":600,"entries":[` +
		`{"name":"A","kind":"variable","source":"room:secret/a","required":true,"state":"current","confirmed_at":"2026-11-23T20:00:00Z","expires_at":"2026-11-23T21:00:00Z","revision":3},` +
		`{"name":"B","kind":"variable","source":"room:request/alice?url=x\u0026type=y","required":false,"state":"pending","from":"alice","until":"2026-11-23T20:01:00Z"},` +
		`{"name":"t\\l\"s","kind":"file","source":"room:secret/tls","required":true,"state":"stale","reason":"unreachable: connection refused","since":"2026-11-23T20:00:00Z","confirmed_at":"2026-11-23T19:59:00Z"}]}`
	if string(b) != want {
		t.Errorf("got\n%s\nwant\n%s", b, want)
	}
}
