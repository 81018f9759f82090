package status

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/roomenv/roomenv/internal/httpserver"
)

// Listen serves [Handler] on a TCP address, to whoever reaches it, until the
// server is closed. The log, nil being none, is told the address, whose port may
// have been 0.
func Listen(address string, report func() Report, log *slog.Logger) (*httpserver.Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot serve metrics and health: %w", err)
	}
	if log != nil {
		log.Info("listening http://" + l.Addr().String())
	}
	return httpserver.Serve(l, httpserver.Config{Handler: Handler(report), Logger: log}), nil
}

// Handler has what is asked of a service, without the references of the manifest:
//
//	GET /metrics  in the text format of Prometheus
//	GET /healthz  200, as long as this process lives
//	GET /readyz   200, or 503 and each [Report.Unready] on a line
//
// Report is called for each request but for those of /healthz.
func Handler(report func() Report) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		writeMetrics(w, report(), time.Now())
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if reasons := report().Unready(); len(reasons) > 0 {
			text(w, http.StatusServiceUnavailable, reasons...)
			return
		}
		text(w, http.StatusOK, "ok")
	})
	return mux
}

func text(w http.ResponseWriter, code int, lines ...string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, strings.Join(lines, "\n")+"\n")
}

// writeMetrics writes r as it is now, in the text format (version 0.0.4).
func writeMetrics(w io.Writer, r Report, now time.Time) {
	family := func(kind, name, help string) { fmt.Fprintf(w, "# HELP %s %s\n# TYPE %[1]s %[3]s\n", name, help, kind) }
	sample := func(name, labels string, v float64) { fmt.Fprintf(w, "%s%s %v\n", name, labels, v) }
	one := func(kind, name, help string, v float64) {
		family(kind, name, help)
		sample(name, "", v)
	}
	one("gauge", "roomenv_ready", "Whether /readyz answers 200.", truth(len(r.Unready()) == 0))
	one("gauge", "roomenv_command_running", "Whether the command runs.", truth(r.State == Running))
	one("gauge", "roomenv_generation", "Number of the generation of values that the command has.", float64(r.Generation))
	one("counter", "roomenv_restarts_total", "Restarts of the command because values changed.", float64(r.Restarts))
	one("counter", "roomenv_rollbacks_total", "Changes of values that the command did not come up with.", float64(r.Rollbacks))
	one("counter", "roomenv_crashes_total", "Ends of the command that nobody asked for.", float64(r.Crashes))
	one("counter", "roomenv_refreshes_total", "Rounds in which all values were fetched anew.", float64(r.Refreshes))
	one("counter", "roomenv_room_requests_total", "Requests sent to rooms.", float64(r.RoomRequests))

	count := make(map[State]int)
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
		if e.State == Stale {
			stale = max(0, now.Sub(e.Since))
		}
		sample("roomenv_entry_stale_seconds", e.labels(), stale.Seconds())
	}
	times := func(name, help string, of func(Entry) time.Time) {
		family("gauge", name, help)
		for _, e := range rows {
			if t := of(e); !t.IsZero() {
				sample(name, e.labels(), float64(t.UnixMilli())/1000)
			}
		}
	}
	times("roomenv_entry_confirmed_timestamp_seconds", "When a room last said that it is the value.", func(e Entry) time.Time { return e.Confirmed })
	times("roomenv_entry_expires_timestamp_seconds", "When a value ends.", func(e Entry) time.Time { return e.Expires })
}

// merge makes one row of all references of a variable or file: a series is there
// once. It is as stale as the one that is so the longest, was confirmed with the
// one that was first, and ends with the one that ends first.
func merge(entries []Entry) []Entry {
	earlier := func(a, b time.Time) time.Time {
		if a.IsZero() || !b.IsZero() && b.Before(a) {
			return b
		}
		return a
	}
	var rows []Entry
	index := make(map[[2]string]int)
	for _, e := range entries {
		i, ok := index[[2]string{e.Kind, e.Name}]
		if !ok {
			index[[2]string{e.Kind, e.Name}] = len(rows)
			rows = append(rows, e)
			continue
		}
		row := &rows[i]
		row.Confirmed, row.Expires = earlier(row.Confirmed, e.Confirmed), earlier(row.Expires, e.Expires)
		switch {
		case e.State == Stale && row.State == Stale:
			row.Since = earlier(row.Since, e.Since)
		case e.State == Stale:
			row.State, row.Since = Stale, e.Since
		}
	}
	return rows
}

func (e Entry) labels() string {
	return `{kind="` + e.Kind + `",name="` + escape.Replace(strings.ToValidUTF8(e.Name, "\ufffd")) + `"}`
}

// escape is what the text format asks of the value of a label.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
