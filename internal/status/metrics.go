package status

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/internal/httpserver"
	"github.com/roomenv/roomenv/runner"
)

// Listen serves [Handler] on a TCP address, without authentication, until the server
// is closed. It logs the address, whose port may have been 0; a nil log discards that.
func Listen(address string, status func() runner.Status, log *slog.Logger) (*httpserver.Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve metrics and health: %w", err)
	}
	if log != nil {
		log.Info("listening", "url", "http://"+l.Addr().String())
	}
	return httpserver.Serve(l, httpserver.Config{Handler: Handler(status), Logger: log}), nil
}

// Handler serves metrics and health, without the references of the manifest:
//
//	GET /metrics  in the text format of Prometheus
//	GET /healthz  200, as long as this process lives
//	GET /readyz   200, or 503 and each [runner.Status.Unready] on a line
//
// The status is asked for by each request, except for /healthz.
func Handler(status func() runner.Status) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		writeMetrics(w, status(), time.Now())
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reasons := status().Unready(); len(reasons) > 0 {
			text(w, http.StatusServiceUnavailable, reasons...)
			return
		}
		text(w, http.StatusOK, "ok")
	})
	return mux
}

func text(w http.ResponseWriter, code int, lines ...string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, strings.Join(lines, "\n")+"\n")
}

// writeMetrics writes r at the time now, in the text format (version 0.0.4).
func writeMetrics(w io.Writer, r runner.Status, now time.Time) {
	family := func(kind, name, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %[1]s %[3]s\n", name, help, kind) }
	sample := func(name, labels string, v float64) { fmt.Fprintf(w, "%s%s %v\n", name, labels, v) }
	one := func(kind, name, help string, v float64) {
		family(kind, name, help)
		sample(name, "", v)
	}
	one("gauge", "roomenv_ready", "Whether /readyz answers 200.", truth(len(r.Unready()) == 0))
	one("gauge", "roomenv_command_running", "Whether the command runs.", truth(r.State == runner.CommandRunning))
	one("gauge", "roomenv_revision", "Number of the revision that was applied last.", float64(r.Revision))
	one("counter", "roomenv_restarts_total", "Restarts of the command because values changed.", float64(r.Restarts))
	one("counter", "roomenv_rollbacks_total", "Revisions that the command could not use.", float64(r.Rollbacks))
	one("counter", "roomenv_crashes_total", "Failures of the command, after which it was started again.", float64(r.Crashes))
	one("gauge", "roomenv_failing_hooks", "Hooks that failed and are run again.", float64(len(r.FailingHooks)))
	one("counter", "roomenv_refreshes_total", "Requests to refresh all values.", float64(r.Refreshes))
	one("counter", "roomenv_room_requests_total", "Requests sent to rooms.", float64(r.RoomRequests))

	family("gauge", "roomenv_room_connected", "Whether there is a connection to the room.")
	for _, room := range r.Rooms {
		lost := slices.ContainsFunc(r.Disconnected, func(o runner.Outage) bool { return o.Room == room })
		sample("roomenv_room_connected", `{room="`+escapeLabel(room)+`"}`, truth(!lost))
	}

	count := make(map[fetch.Status]int)
	for _, e := range r.Entries {
		count[e.State]++
	}
	family("gauge", "roomenv_entries", "References of variables and files, by their state.")
	for _, s := range states {
		sample("roomenv_entries", `{state="`+string(s)+`"}`, float64(count[s]))
	}
	rows := merge(r.Entries)
	family("gauge", "roomenv_entry_stale_seconds", "For how long a value is stale; 0 when it is not.")
	for _, e := range rows {
		var stale time.Duration
		if e.State == fetch.Stale {
			stale = max(0, now.Sub(e.Since))
		}
		sample("roomenv_entry_stale_seconds", labels(e), stale.Seconds())
	}
	times := func(name, help string, of func(runner.Entry) time.Time) {
		family("gauge", name, help)
		for _, e := range rows {
			if t := of(e); !t.IsZero() {
				sample(name, labels(e), float64(t.UnixMilli())/1000)
			}
		}
	}
	times("roomenv_entry_confirmed_timestamp_seconds", "When a room last confirmed the value.", func(e runner.Entry) time.Time { return e.Confirmed })
	times("roomenv_entry_expires_timestamp_seconds", "When a value expires.", func(e runner.Entry) time.Time { return e.Expires })
}

// states are those of values, in the order of the metrics.
var states = []fetch.Status{fetch.Current, fetch.Stale, runner.StatusDefault, fetch.Pending, fetch.Missing, fetch.Denied, fetch.Failed, fetch.Waiting}

// merge makes one row of all references of a variable or file: a series must appear
// once. The row is stale for as long as any of them, was confirmed when the first of
// them was, and expires with the first.
func merge(entries []runner.Entry) []runner.Entry {
	earlier := func(a, b time.Time) time.Time {
		if a.IsZero() || !b.IsZero() && b.Before(a) {
			return b
		}
		return a
	}
	type series struct {
		kind runner.EntryKind
		name string
	}
	var rows []runner.Entry
	index := make(map[series]int)
	for _, e := range entries {
		i, ok := index[series{e.Kind, e.Name}]
		if !ok {
			index[series{e.Kind, e.Name}] = len(rows)
			rows = append(rows, e)
			continue
		}
		row := &rows[i]
		row.Confirmed, row.Expires = earlier(row.Confirmed, e.Confirmed), earlier(row.Expires, e.Expires)
		switch {
		case e.State == fetch.Stale && row.State == fetch.Stale:
			row.Since = earlier(row.Since, e.Since)
		case e.State == fetch.Stale:
			row.State, row.Since = fetch.Stale, e.Since
		}
	}
	return rows
}

func labels(e runner.Entry) string {
	return `{kind="` + string(e.Kind) + `",name="` + escapeLabel(e.Name) + `"}`
}

func escapeLabel(s string) string { return escape.Replace(strings.ToValidUTF8(s, "\ufffd")) }

// escape is what the text format requires of the value of a label.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
