package fetch_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
)

// What a source says one after the other decides the status of a value.
func TestStatus(t *testing.T) {
	own := errors.New("exit status 1")
	pending := &fetch.PendingError{From: "bob"}
	for name, test := range map[string]struct {
		says []any
		want fetch.Status
	}{
		"value":                {[]any{"v"}, fetch.Current},
		"missing":              {[]any{fetch.ErrMissing}, fetch.Missing},
		"rejected":             {[]any{fetch.ErrRejected}, fetch.Missing},
		"pending":              {[]any{pending}, fetch.Pending},
		"gone":                 {[]any{"v", fetch.ErrMissing}, fetch.Missing},
		"taken away":           {[]any{"v", fetch.ErrDenied}, fetch.Denied},
		"taken away, silent":   {[]any{"v", fetch.ErrDenied, fetch.ErrUnreachable}, fetch.Denied},
		"silent":               {[]any{"v", fetch.ErrUnreachable}, fetch.Stale},
		"an error of its own":  {[]any{"v", own}, fetch.Stale},
		"unknown":              {[]any{"v", fetch.ErrUnknown}, fetch.Stale},
		"missing, then silent": {[]any{fetch.ErrMissing, own}, fetch.Stale},
		"asked for again":      {[]any{"v", pending}, fetch.Pending},
		"silent, then there":   {[]any{"v", own, "v"}, fetch.Current},
		"gone, then there":     {[]any{"v", fetch.ErrMissing, "v"}, fetch.Current},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				h := newPushing(map[string]any{"a": test.says[0]})
				m := file(manifest.Expr{ref("a")})
				f := &fetch.Refresher{Sources: mux(h)}
				followFrom(t, f, m, new(fetch.Snapshot))
				for _, says := range test.says {
					settle(time.Second)
					h.change("a", says)
				}
				settle(time.Second)
				if got := f.Latest(t.Context()).State(target("a")).Status(); got != test.want {
					t.Errorf("it is %s, want %s", got, test.want)
				}
			})
		})
	}
}

// A pollingHouse is polled at an interval of its own.
type pollingHouse struct {
	*house
	every time.Duration
}

func (h pollingHouse) PollInterval() time.Duration { return h.every }

// Sources do not affect each other: each is polled at its own interval, none is the
// probe of another one, and what one says or does not say has no effect beyond it.
func TestSchemes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		room := newPushing(map[string]any{"a": "1", "b": "1"})
		files := pollingHouse{&house{holds: map[string]any{"a": "f"}}, 10 * time.Second}
		of := func(scheme string) manifest.Target { return manifest.Target{Scheme: scheme, Path: "secret/a"} }
		part := func(scheme string, optional bool) manifest.Part {
			return manifest.Part{Reference: &manifest.Reference{Target: of(scheme), Optional: optional}}
		}
		m := file(manifest.Expr{ref("a"), ref("b")}, manifest.Expr{part("file", false)}, manifest.Expr{variable("X", "-", part("other", false))})
		f := &fetch.Refresher{Sources: fetch.Mux{"room": room, "file": files}, Interval: time.Minute}
		snapshots := follow(t, f, m)
		settle(time.Second)
		room.questions()
		if n := files.questions()["a"]; n != 1 {
			t.Errorf("the file was read %d times", n)
		}

		settle(time.Hour)
		if n := files.questions()["a"]; n < 330 || n > 400 {
			t.Errorf("the file was read %d times in an hour", n)
		}
		if n := room.questions(); n["a"]+n["b"] < 55 || n["a"]+n["b"] > 66 {
			t.Errorf("the room was asked %v in an hour", n)
		}
		newest(t, snapshots, 0)

		status := func(scheme string) fetch.Status { return f.Latest(t.Context()).State(of(scheme)).Status() }
		for _, fails := range []any{errors.New("exit status 1"), nil} {
			files.put("a", fails)
			settle(time.Minute)
			s := newest(t, snapshots, 1)
			if status("file") != fetch.Stale || status("room") != fetch.Current || len(s.Violations(m, time.Now())) > 0 {
				t.Errorf("the file is %s, the room %s", status("file"), status("room"))
			}
			room.questions()
			room.change("a", fails)
			synctest.Wait()
			if n := room.questions(); n["a"] != 1 || n["b"] != 0 {
				t.Errorf("a change in the room asked %v", n)
			}
			settle(31 * time.Second) // without an answer
			newest(t, snapshots, 1)
			files.put("a", "f")
			settle(31 * time.Second)
			newest(t, snapshots, 1)
			if status("file") != fetch.Current || status("room") != fetch.Stale {
				t.Errorf("the file is %s, the room %s", status("file"), status("room"))
			}
			room.change("a", "1")
			settle(31 * time.Second) // after a question that is still open
			newest(t, snapshots, 1)
		}
		files.put("a", fetch.ErrMissing)
		settle(time.Minute)
		if newest(t, snapshots, 1); status("file") != fetch.Missing || status("room") != fetch.Current {
			t.Errorf("the file is %s, the room %s", status("file"), status("room"))
		}
		if st := f.Latest(t.Context()).State(of("other")); !errors.Is(st.Err, fetch.ErrUnsupported) || st.Status() != fetch.Failed {
			t.Errorf("a scheme without a source is %+v", st)
		}
	})
}
