package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/runner"
)

var update = flag.Bool("update", false, "write the golden files")

func TestPrintStatus(t *testing.T) {
	now := time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	value := func(name, source string, v runner.Value, revision int) runner.Entry {
		return runner.Entry{Name: name, Kind: runner.KindVariable, Source: source, Required: true, Value: v, Revision: revision}
	}
	all := []runner.Status{
		{
			PID: 4711, Command: "agent", Manifest: []string{".env.room", ".env.staging"}, Rooms: []string{"demo", "other"},
			Started: ago(26*time.Hour + time.Millisecond), State: runner.CommandRunning, Ready: true,
			Revision: 3, Restarts: 1, Rollbacks: 2, Crashes: 1, Refreshes: 5, RoomRequests: 9,
			Entries: []runner.Entry{
				value("OPENAI_API_KEY", "room:secret/openai-api-key", runner.Value{State: fetch.Current, Confirmed: ago(12 * time.Second)}, 3),
				value("GITHUB_TOKEN", "room:oauth/github", runner.Value{State: fetch.Current, Confirmed: ago(time.Minute), Expires: now.Add(59 * time.Minute)}, 2),
				{Name: "STRIPE_KEY", Kind: runner.KindVariable, Source: "room:request/alice?url=https%3A%2F%2Fstripe.com&type=text%2Fplain",
					Value: runner.Value{State: fetch.Pending, From: "alice", Until: now.Add(5 * time.Minute)}},
				{Name: "tls/key.pem", Kind: runner.KindFile, Source: "room:secret/tls-key", Required: true, Revision: 1,
					Value: runner.Value{State: fetch.Stale, Since: ago(time.Minute), Confirmed: ago(time.Hour), Reason: "unreachable: connection refused"}},
				{Name: "REGION", Kind: runner.KindVariable, Source: "room:secret/region", Value: runner.Value{State: runner.StatusDefault, Confirmed: ago(0)}},
			},
		},
		{
			PID: 4712, Command: "worker", Rooms: []string{"\x1b[31mdemo"}, Started: ago(time.Minute),
			State: runner.CommandStopped, Reason: "DB_PASSWORD was revoked", Revision: 1,
			Disconnected: []runner.Outage{{Room: "\x1b[31mdemo", Since: ago(12 * time.Second), Reason: "status 503 Service Unavailable"}},
			Entries: []runner.Entry{
				value("DB_PASSWORD", "room:secret/db", runner.Value{State: fetch.Denied, Reason: "permission\ndenied", Since: ago(2 * time.Second),
					Expires: ago(time.Second), Confirmed: now.Add(time.Second)}, 1),
			},
		},
		{PID: 4713, Started: ago(0)},
	}
	var got bytes.Buffer
	if err := printStatus(&got, all, now); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/status.golden", got.Bytes())
	got.Reset()
	if err := printJSON(&got, all, "  "); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/status.json.golden", got.Bytes())
	got.Reset()
	all[1].Entries[0].Revision = 2
	if err := printStatus(&got, all[1:2], now); err != nil || !strings.Contains(got.String(), "revision   1, applying 2 (0 restarts") {
		t.Errorf("got %s, error %v", got.String(), err)
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// The commands reach a process by its socket.
func TestStatusAndRefresh(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has a tmpfs")
	}
	dir, err := os.MkdirTemp("/dev/shm", "roomenv-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	refreshed := 0
	report := func() runner.Status {
		return runner.Status{PID: os.Getpid(), Command: "agent", State: runner.CommandStarting}
	}
	s, err := status.Serve(report, func() { refreshed++ }, nil)
	if err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(os.Getpid())
	run := func(cmd *cobra.Command, args ...string) (string, error) {
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		cmd.SetArgs(append(args, "--pid", pid))
		err := cmd.ExecuteContext(t.Context())
		return out.String(), err
	}
	if out, err := run(newStatus(nil)); err != nil || !strings.HasPrefix(out, "process "+pid+": agent, starting\n  not ready  the command is starting\n") {
		t.Errorf("got %s, error %v", out, err)
	}
	var all []runner.Status
	out, err := run(newStatus(nil), "--json")
	if err := errors.Join(err, json.Unmarshal([]byte(out), &all)); err != nil || len(all) != 1 || all[0].Command != "agent" {
		t.Errorf("got %s, error %v", out, err)
	}
	if out, err := run(newRefresh(nil)); err != nil || out != "refreshing 1 process\n" || refreshed != 1 {
		t.Errorf("got %s, error %v, and %d refreshes", out, err, refreshed)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	var exit exitError
	if _, err := run(newRefresh(nil)); !errors.As(err, &exit) || exit.code != 1 {
		t.Errorf("error %v", err)
	}
}
