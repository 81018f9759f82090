package status_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/internal/status"
	"github.com/roomenv/roomenv/runner"
)

var (
	metadata = regexp.MustCompile(`^# (HELP|TYPE) ([a-z_]+) (.+)$`)
	sample   = regexp.MustCompile(`^([a-z_]+)(\{[a-z]+="(?:[^"\\\n]|\\[\\"n])*"(?:,[a-z]+="(?:[^"\\\n]|\\[\\"n])*")*\})? (\S+)$`)
)

// parse checks text as the format has it: metadata before the samples of its
// family, which are together, and each series once.
func parse(t *testing.T, text string) map[string]float64 {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Error("the last line has no end")
	}
	if !utf8.ValidString(text) {
		t.Errorf("not UTF-8: %q", text)
	}
	series := make(map[string]float64)
	types := make(map[string]string)
	family := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := metadata.FindStringSubmatch(line); m != nil {
			if m[1] == "TYPE" {
				if types[m[2]] != "" {
					t.Errorf("%s appears twice", m[2])
				}
				types[m[2]], family = m[3], m[2]
			}
			continue
		}
		m := sample.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not a sample: %s", line)
			continue
		}
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if _, twice := series[m[1]+m[2]]; twice {
			t.Errorf("%s appears twice", m[1]+m[2])
		}
		series[m[1]+m[2]] = value
		if m[1] != family {
			t.Errorf("%s is not below its type", line)
		}
		if counter := strings.HasSuffix(m[1], "_total"); counter != (types[family] == "counter") {
			t.Errorf("%s is a %s", family, types[family])
		}
	}
	return series
}

func get(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Body.String()
}

func TestMetrics(t *testing.T) {
	now := time.Now()
	h := status.Handler(func() runner.Status {
		r := report()
		r.Entries[2].Since = now.Add(-time.Hour)
		r.Rooms = []string{"demo", "other"}
		r.Disconnected = []runner.Outage{{Room: "other", Since: now}}
		// Another reference of the same variable.
		r.Entries = append(r.Entries, runner.Entry{Name: "A", Kind: runner.KindVariable, Source: "room:secret/b", Value: runner.Value{
			State: fetch.Stale, Since: now.Add(-2 * time.Hour), Confirmed: started.Add(-time.Hour), Expires: started.Add(2 * time.Hour),
		}})
		return r
	})
	code, body := get(t, h, "GET", "/metrics")
	if code != 200 || strings.Contains(body, "room:") {
		t.Errorf("got %d\n%s", code, body)
	}
	series := parse(t, body)
	for name, want := range map[string]float64{
		"roomenv_ready":                                                         1,
		"roomenv_command_running":                                               1,
		"roomenv_revision":                                                      3,
		"roomenv_restarts_total":                                                2,
		"roomenv_rollbacks_total":                                               1,
		"roomenv_crashes_total":                                                 4,
		"roomenv_refreshes_total":                                               5,
		"roomenv_room_requests_total":                                           600,
		`roomenv_room_connected{room="demo"}`:                                   1,
		`roomenv_room_connected{room="other"}`:                                  0,
		`roomenv_entries{state="current"}`:                                      1,
		`roomenv_entries{state="stale"}`:                                        2,
		`roomenv_entries{state="denied"}`:                                       0,
		`roomenv_entries{state="pending"}`:                                      1,
		`roomenv_entry_stale_seconds{kind="variable",name="B"}`:                 0,
		`roomenv_entry_expires_timestamp_seconds{kind="variable",name="A"}`:     float64(started.Add(time.Hour).Unix()),
		`roomenv_entry_confirmed_timestamp_seconds{kind="variable",name="A"}`:   float64(started.Add(-time.Hour).Unix()),
		`roomenv_entry_confirmed_timestamp_seconds{kind="file",name="t\\l\"s"}`: float64(started.Add(-time.Minute).Unix()),
	} {
		if got, ok := series[name]; !ok || got != want {
			t.Errorf("%s is %v, %v; want %v", name, got, ok, want)
		}
	}
	for name, want := range map[string]float64{`{kind="variable",name="A"}`: 7200, `{kind="file",name="t\\l\"s"}`: 3600} {
		if got := series["roomenv_entry_stale_seconds"+name]; got < want || got > want+600 {
			t.Errorf("%s is stale for %v s, want %v", name, got, want)
		}
	}
	if _, ok := series[`roomenv_entry_expires_timestamp_seconds{kind="variable",name="B"}`]; ok {
		t.Error("a value that does not end has an end")
	}
}

// An empty report, and names that were made to break the format.
func TestMetricsOdd(t *testing.T) {
	parse(t, body(t, runner.Status{}))
	names := []string{"", `"`, `\`, "\n", `a\"b`, "\xff", "a} 1\nroomenv_ready 7", "é"}
	r := runner.Status{Rooms: names}
	for _, name := range names {
		r.Entries = append(r.Entries, runner.Entry{Name: name, Kind: runner.KindFile, Value: runner.Value{State: fetch.Current}})
	}
	series := parse(t, body(t, r))
	stale := 0
	for name := range series {
		if strings.HasPrefix(name, "roomenv_entry_stale_seconds") {
			stale++
		}
	}
	if stale != len(names) || series["roomenv_ready"] != 1 {
		t.Errorf("%d series of %d names", stale, len(names))
	}
}

// A variable or file of several references has one series, which is that of the worst
// of them; a clock that was set back makes none negative, and every state has a sample.
func TestMetricsOfSeveralReferences(t *testing.T) {
	entry := func(v runner.Value) runner.Entry { return runner.Entry{Name: "A", Kind: runner.KindFile, Value: v} }
	now := time.Now()
	worst := func(values ...runner.Value) map[string]float64 {
		r := runner.Status{State: runner.CommandStarting}
		for _, v := range values {
			r.Entries = append(r.Entries, entry(v))
		}
		return parse(t, body(t, r))
	}
	const (
		stale   = `roomenv_entry_stale_seconds{kind="file",name="A"}`
		expires = `roomenv_entry_expires_timestamp_seconds{kind="file",name="A"}`
	)
	series := worst(
		runner.Value{State: fetch.Stale, Since: now.Add(-time.Hour), Expires: started.Add(time.Hour)},
		runner.Value{State: fetch.Stale, Since: now.Add(-2 * time.Hour), Expires: started},
		runner.Value{State: fetch.Stale, Since: now.Add(-time.Minute)},
	)
	if series[stale] < 7200 || series[stale] > 7800 || series[expires] != float64(started.Unix()) {
		t.Errorf("stale for %v s, expires at %v", series[stale], series[expires])
	}
	if v, ok := series["roomenv_command_running"]; !ok || v != 0 {
		t.Errorf("a command that starts is running: %v, %t", v, ok)
	}
	if series := worst(runner.Value{State: fetch.Stale, Since: now.Add(time.Hour)}); series[stale] != 0 {
		t.Errorf("stale for %v s", series[stale])
	}
	for _, s := range []fetch.Status{fetch.Current, fetch.Stale, runner.StatusDefault, fetch.Pending, fetch.Missing, fetch.Denied, fetch.Failed} {
		if series := worst(runner.Value{State: s}); series[`roomenv_entries{state="`+string(s)+`"}`] != 1 {
			t.Errorf("%s is not counted", s)
		}
	}
}

// The header says which version of the text format it is.
func TestMetricsType(t *testing.T) {
	w := httptest.NewRecorder()
	status.Handler(report).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if got := w.Header().Get("Content-Type"); got != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("got %q", got)
	}
}

func body(t *testing.T, r runner.Status) string {
	t.Helper()
	_, text := get(t, status.Handler(func() runner.Status { return r }), "GET", "/metrics")
	return text
}

func TestHealth(t *testing.T) {
	r := report()
	h := status.Handler(func() runner.Status { return r })
	check := func(method, path string, want int, wantBody string) {
		t.Helper()
		if code, text := get(t, h, method, path); code != want || wantBody != "" && text != wantBody {
			t.Errorf("%s %s: got %d %q, want %d %q", method, path, code, text, want, wantBody)
		}
	}
	check("GET", "/healthz", 200, "ok\n")
	check("GET", "/readyz", 200, "ok\n")
	r.State, r.Reason, r.Entries[0].State = runner.CommandStopped, "A was deleted", fetch.Missing
	check("GET", "/healthz", 200, "ok\n")
	check("GET", "/readyz", 503, "the command is stopped: A was deleted\nA is missing\n")
	if series := parse(t, body(t, r)); series["roomenv_ready"] != 0 || series["roomenv_command_running"] != 0 {
		t.Errorf("metrics disagree: %v", series)
	}
	check("POST", "/readyz", 405, "")
	check("POST", "/healthz", 405, "")
	check("POST", "/metrics", 405, "")
	check("GET", "/status", 404, "")
	check("POST", "/refresh", 404, "")
}

func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := taken.Addr().String()
	if _, err := status.Listen(address, report, nil); err == nil || !strings.HasPrefix(err.Error(), "serve metrics and health: ") {
		t.Errorf("error %v", err)
	}
	taken.Close()
	var log bytes.Buffer
	s, err := status.Listen(address, report, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(fmt.Sprintf("http://%s/readyz", address))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if b, _ := io.ReadAll(response.Body); string(b) != "ok\n" {
		t.Errorf("got %q", b)
	}
	if !strings.Contains(log.String(), "url=http://"+address+"\n") {
		t.Errorf("the log is %q", log.String())
	}
}
