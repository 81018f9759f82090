package manifest_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roomenv/roomenv/manifest"
)

const oauthX = "\noauth: {x: " + clientJSON + "}"

// Samples of how values are kept current, on which the parser and the schema
// agree.
var keepingStructures = []structure{
	{true, "version: 1\nrefresh: {}"},
	{true, "version: 1\nrefresh: {interval: 60s, debounce: 500ms, max_stale: 0}"},
	{true, "version: 1\nrefresh: {interval: 60s, debounce: 500ms, max_wait: 5s, max_stale: 1h, then: exit, on_revoked: keep}"},
	{true, "version: 1\nrefresh: {max_stale: \"0\", on_revoked: stop}"},
	{true, "version: 1\nrefresh: {max_stale: 1h, on_stale: stop}"},
	{false, "version: 1\nrefresh: {max_stale: 1h, on_stale: stop, then: stop}"},
	{false, "version: 1\nrefresh: {max_stale: 1h, on_stale: keep}"},
	{true, "version: 1\nenv: {A: {secret: x, max_stale: 1h, on_stale: stop}}"},
	{false, "version: 1\nenv: {A: {secret: x, on_stale: stop}}"},
	{false, "version: 1\nenv: {A: {secret: x, max_stale: 1h, on_stale: stop, then: stop}}"},
	{false, oneFile + "{template: x, max_stale: 1h, on_stale: stop, then: stop}}"},
	{true, "version: 1\nrefresh: {max_stale: 0.0}"},
	{true, "version: 1\nrefresh: {max_stale: 0s}"},
	{false, "version: 1\nrefresh:"},
	{false, "version: 1\nrefresh: 60s"},
	{false, "version: 1\nrefresh: {interval: 0}"},
	{false, "version: 1\nrefresh: {interval: 60}"},
	{false, "version: 1\nrefresh: {debounce: 0s}"},
	{false, "version: 1\nrefresh: {max_wait: soon}"},
	{false, "version: 1\nrefresh: {max_stale: 1}"},
	{false, "version: 1\nrefresh: {max_stale: -1s}"},
	{false, "version: 1\nrefresh: {max_stale: -0s}"},
	{false, "version: 1\nrefresh: {max_stale: \"\"}"},
	{false, "version: 1\nrefresh: {max_stale: ~}"},
	{false, "version: 1\nrefresh: {max_stale: 1s, then: die}"},
	{false, "version: 1\nrefresh: {on_revoked: warn}"},
	{false, "version: 1\nrefresh: {on_change: none}"},
	{true, "version: 1\nexec: {on_change: none, restart: overlap, ready: {tcp: \"127.0.0.1:8080\", timeout: 30s}, restart_on_failure: true}"},
	{true, "version: 1\nexec: {on_change: {signal: HUP}, restart: overlap, ready: {command: [curl, -f, \"\"]}}"},
	{true, "version: 1\nexec:\n  on_change:\n    command:\n    - nginx\n    - -s\n    - reload\n  restart_on_failure: false"},
	{true, `{"version": 1, "exec": {"on_change": {"command": ["a"]}, "restart": "overlap", "ready": {"tcp": "[::1]:http"}}}`},
	{true, "version: 1\nexec: {on_change: {signal: \"10\"}}"},
	{true, "version: 1\nexec: {on_change: {signal: RTMIN+1}}"},
	{false, "version: 1\nexec: {on_change: reload}"},
	{false, "version: 1\nexec: {on_change: signal}"},
	{false, "version: 1\nexec: {on_change: }"},
	{false, "version: 1\nexec: {on_change: {}}"},
	{false, "version: 1\nexec: {on_change: [restart]}"},
	{false, "version: 1\nexec: {on_change: {signal: HUP, command: [a]}}"},
	{false, "version: 1\nexec: {on_change: {signal: 1}}"},
	{false, "version: 1\nexec: {on_change: {signal: \"\"}}"},
	{false, "version: 1\nexec: {on_change: {signal: H UP}}"},
	{false, "version: 1\nexec: {on_change: {signals: HUP}}"},
	{false, "version: 1\nexec: {on_change: {command: a}}"},
	{false, "version: 1\nexec: {on_change: {command: []}}"},
	{false, "version: 1\nexec: {on_change: {command: [\"\", a]}}"},
	{false, "version: 1\nexec: {on_change: {command: [a, 1]}}"},
	{false, "version: 1\nexec: {on_change: {command: [[a]]}}"},
	{false, "version: 1\nexec: {on_change: {command: [a, {b: c}]}}"},
	{false, "version: 1\nexec: {restart: always}"},
	{false, "version: 1\nexec: {restart: true}"},
	{false, "version: 1\nexec: {restart: overlap, ready: tcp}"},
	{false, "version: 1\nexec: {restart: overlap, ready: {}}"},
	{false, "version: 1\nexec: {restart: overlap, ready: {timeout: 1s}}"},
	{false, "version: 1\nexec: {restart: overlap, ready: {tcp: \":1\", command: [a]}}"},
	{false, "version: 1\nexec: {restart: overlap, ready: {tcp: 8080}}"},
	{false, "version: 1\nexec: {restart: overlap, ready: {tcp: localhost}}"},
	{false, "version: 1\nexec: {restart: overlap, ready: {tcp: \"localhost:\"}}"},
	{false, "version: 1\nexec: {restart: overlap, ready: {tcp: \"::1:80\"}}"},
	{false, "version: 1\nexec: {restart: overlap, ready: {tcp: \":1\", timeout: 0s}}"},
	{false, "version: 1\nexec: {restart: overlap, ready: {http: /}}"},
	{false, "version: 1\nexec: {restart_on_failure: 1}"},
	{true, "version: 1\nenv: {A: {secret: x, on_change: none, max_stale: 10m, then: stop, on_revoked: keep}}"},
	{true, "version: 1\nenv: {A: {request: {from: p, url: u, type: t}, on_change: {command: [a, b]}, max_stale: 0}}"},
	{true, "version: 1\nenv: {A: {oauth: x, expires_at: true, on_change: {signal: HUP}}, B: {oauth: x, expires_at: false}}" + oauthX},
	{true, "version: 1\nenv: {A: {value: x, on_change: none}}"},
	{true, "version: 1\nenv: {A: {secret: x, file: true, on_change: {signal: HUP}}}"},
	{true, oneFile + "{secret: x, on_change: {signal: HUP}, max_stale: 1m, then: warn, on_revoked: stop}}"},
	{true, oneFile + "{oauth: x, max_stale: 1m}}" + oauthX},
	{true, oneFile + "{template: x, on_change: restart, on_revoked: keep}}"},
	{true, oneFile + "{format: json, entries: {}, on_change: {command: [a]}, max_stale: 5m, then: exit}}"},
	{true, oneFile + "{value: x, on_change: restart}}"},
	{false, "version: 1\nenv: {A: {on_change: none}}"},
	{false, "version: 1\nenv: {A: {secret: x, on_change: ~}}"},
	{false, "version: 1\nenv: {A: {secret: x, then: stop}}"},
	{false, "version: 1\nenv: {A: {secret: x, max_stale: 5}}"},
	{false, "version: 1\nenv: {A: {secret: x, on_revoked: exit}}"},
	{false, "version: 1\nenv: {A: {secret: x, expires_at: true}}"},
	{false, "version: 1\nenv: {A: {request: {from: p, url: u, type: t}, expires_at: true}}"},
	{false, "version: 1\nenv: {A: {request: {from: p, url: u, type: t, on_change: none}}}"},
	{false, "version: 1\nenv: {A: {oauth: x, expires_at: yes}}" + oauthX},
	{false, "version: 1\nenv: {A: {value: x, max_stale: 1m}}"},
	{false, "version: 1\nenv: {A: {value: x, expires_at: true}}"},
	{false, "version: 1\nenv: {A: {secret: x, interval: 1s}}"},
	{false, oneFile + "{on_change: none}}"},
	{false, oneFile + "{secret: x, then: stop}}"},
	{false, oneFile + "{template: x, then: stop}}"},
	{false, oneFile + "{value: x, on_revoked: keep}}"},
	{false, oneFile + "{oauth: x, expires_at: true}}" + oauthX},
	{false, oneFile + "{format: json, entries: {A: {secret: x, on_change: none}}}}"},
	{false, oneFile + "{format: json, entries: {A: {value: x, on_change: none}}}}"},
	{false, oneFile + "{format: json, entries: {A: {oauth: x, expires_at: true}}}}" + oauthX},
}

func TestKeeping(t *testing.T) {
	write(t, map[string]string{
		"m.env": "A=room:secret/a?on_change=none&max_stale=10m&on_revoked=keep\n" +
			"B=\"x${room:secret/b?max_stale=1m&then=exit}y${room:secret/c}\"\n" +
			"C=${INHERITED:-room:secret/c?on_change=restart}\n" +
			"KEY=room:secret/k?file=tls/key.pem&on_change=restart\n" +
			"TOKEN=room:oauth/x?expires_at=true&on_change=none\n" +
			"PLAIN=room:secret/p\n",
		"m.yaml": `version: 1
env:
  FOREVER: {secret: f, max_stale: 0}
  HOOK: {secret: h, on_change: {command: [sh, -c, "x y"]}}
  LITERAL: {value: l, on_change: {signal: HUP}}
  OWN: {oauth: x, file: true, expires_at: true}
files:
  text: "${room:secret/t?on_revoked=keep}"
  a.json: {format: json, on_change: {signal: USR1}, max_stale: 2m, entries: {A: "room:secret/a"}}
refresh: {max_stale: 1h, then: stop}
` + strings.TrimPrefix(oauthX, "\n"),
	})
	m, err := manifest.Load([]string{"m.env", "m.yaml"}, []string{"INHERITED=room:secret/i?max_stale=3m"})
	if err != nil {
		t.Fatal(err)
	}
	type keeping map[string]manifest.UpdatePolicy
	got := keeping{}
	for _, e := range m.Entries {
		got[e.Name] = e.UpdatePolicy
	}
	for _, f := range m.Files {
		got[f.Path] = f.UpdatePolicy
	}
	for _, e := range m.Values() {
		for _, p := range e.Value {
			if r := p.Reference; r != nil && r.Speaks() {
				t.Errorf("%s: the reference keeps %+v", e.Name, r)
			}
		}
	}
	change := func(kind manifest.ChangeKind) *manifest.OnChange { return &manifest.OnChange{Kind: kind} }
	want := keeping{
		"INHERITED": {MaxStale: 3 * time.Minute},
		"A":         {OnChange: change(manifest.ChangeNone), MaxStale: 10 * time.Minute, OnRevoked: manifest.ActionKeep},
		"B":         {MaxStale: time.Minute, OnStale: manifest.ActionExit},
		"FOREVER":   {},
		"text":      {MaxStale: time.Hour, OnStale: manifest.ActionStop, OnRevoked: manifest.ActionKeep},
		"a.json":    {OnChange: &manifest.OnChange{Kind: manifest.ChangeSignal, Signal: "USR1"}, MaxStale: 2 * time.Minute},
	}
	for name, c := range map[string]*manifest.OnChange{ // with the policy of refresh
		"C":                change(manifest.ChangeRestart),
		"KEY":              nil,
		"TOKEN":            change(manifest.ChangeNone),
		"TOKEN_EXPIRES_AT": change(manifest.ChangeNone),
		"PLAIN":            nil,
		"HOOK":             {Kind: manifest.ChangeCommand, Command: []string{"sh", "-c", "x y"}},
		"LITERAL":          {Kind: manifest.ChangeSignal, Signal: "HUP"},
		"OWN":              nil, // a file
		"OWN_EXPIRES_AT":   change(manifest.ChangeNone),
		"OWN_FILE":         nil,
		"tls/key.pem":      change(manifest.ChangeRestart),
	} {
		want[name] = manifest.UpdatePolicy{OnChange: c, MaxStale: time.Hour, OnStale: manifest.ActionStop}
	}
	for name, k := range want {
		if !reflect.DeepEqual(got[name], k) {
			t.Errorf("%s: got %+v, want %+v", name, got[name], k)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("beyond that: %+v", got)
	}
	i := slices.IndexFunc(m.Entries, func(e manifest.Entry) bool { return e.Name == "TOKEN_EXPIRES_AT" })
	if p := m.Entries[i].Value; len(p) != 1 || p[0].Expiry == nil || *p[0].Expiry != m.OAuth["x"].Target("x") {
		t.Errorf("got %+v", p)
	}
}

// Keys of refresh and exec replace those of earlier files, one by one.
func TestRefreshLayers(t *testing.T) {
	write(t, map[string]string{
		"a.yaml": "version: 1\nrefresh: {interval: 10s, debounce: 1s, max_stale: 5m, then: stop, on_revoked: keep}\nexec: {on_change: none, restart: overlap}\n",
		"b.yaml": "version: 1\nrefresh: {interval: 20s, max_wait: 2s, then: exit}\nexec:\n  on_change: {signal: HUP}\n  ready: {tcp: \"localhost:80\", timeout: 5s}\nenv: {A: room:secret/a}\n",
	})
	m, err := manifest.Load([]string{"a.yaml", "b.yaml"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	refresh := manifest.Refresh{Interval: 20 * time.Second, Debounce: time.Second, MaxWait: 2 * time.Second}
	at := map[string]manifest.Position{
		"interval": {File: "b.yaml", Line: 2, Column: 21}, "debounce": {File: "a.yaml", Line: 2, Column: 36},
		"max_wait": {File: "b.yaml", Line: 2, Column: 36}, "max_stale": {File: "a.yaml", Line: 2, Column: 51},
		"on_stale": {File: "b.yaml", Line: 2, Column: 46}, "on_revoked": {File: "a.yaml", Line: 2, Column: 79},
	}
	if !reflect.DeepEqual(m.Refresh.Pos, at) {
		t.Errorf("got %+v, want %+v", m.Refresh.Pos, at)
	}
	m.Refresh.Pos = nil
	if !reflect.DeepEqual(m.Refresh, refresh) {
		t.Errorf("got %+v, want %+v", m.Refresh, refresh)
	}
	stale := manifest.UpdatePolicy{MaxStale: 5 * time.Minute, OnStale: manifest.ActionExit, OnRevoked: manifest.ActionKeep}
	if got := m.Entries[0].UpdatePolicy; got != stale {
		t.Errorf("got %+v, want %+v", got, stale)
	}
	e := m.Exec
	e.Pos = nil
	exec := manifest.Exec{
		OnChange: &manifest.OnChange{Kind: manifest.ChangeSignal, Signal: "HUP"}, Overlap: true,
		Ready: manifest.Readiness{TCP: "localhost:80", Timeout: 5 * time.Second},
	}
	if !reflect.DeepEqual(e, exec) {
		t.Errorf("got %+v, want %+v", e, exec)
	}
}

// then is an alias of on_stale, in each place.
func TestOnStale(t *testing.T) {
	write(t, map[string]string{
		"m.env": "A=room:secret/a?max_stale=1m&then=stop\nB=room:secret/b?max_stale=1m&on_stale=stop\n",
		"m.yaml": "version: 1\nenv:\n  C: {secret: c, max_stale: 1m, then: stop}\n  D: {secret: d, max_stale: 1m, on_stale: stop}\n" +
			"  E: room:secret/e\n  F: {secret: f, max_stale: 0}\nrefresh: {max_stale: 1m, then: exit}\n",
		"over.yaml": "version: 1\nrefresh: {on_stale: stop}\n",
	})
	m, err := manifest.Load([]string{"m.env", "m.yaml", "over.yaml"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range m.Entries {
		want := manifest.UpdatePolicy{MaxStale: time.Minute, OnStale: manifest.ActionStop}
		if e.Name == "F" {
			want = manifest.UpdatePolicy{}
		}
		if e.UpdatePolicy != want {
			t.Errorf("%s: got %+v, want %+v", e.Name, e.UpdatePolicy, want)
		}
	}
	for file, text := range map[string]string{
		"both.env":      "A=room:secret/a?max_stale=1m&then=stop&on_stale=stop",
		"both.yaml":     "version: 1\nenv: {A: {secret: a, on_stale: stop, max_stale: 1m, then: stop}}",
		"file.yaml":     "version: 1\nfiles: {p: {secret: a, on_stale: stop, max_stale: 1m, then: stop}}",
		"refresh.yaml":  "version: 1\nrefresh: {max_stale: 1m, on_stale: stop, then: stop}",
		"template.yaml": "version: 1\nfiles: {p: {template: x, max_stale: 1m, on_stale: stop, then: exit}}",
	} {
		_, errs := manifest.Parse(file, text)
		if len(errs) != 1 || !strings.Contains(errs.Error(), "then is an alias of on_stale: both are given") {
			t.Errorf("%s: got %v", text, errs)
		}
	}
}

func TestKeepingErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"refresh: {interal: 1s}", "m.yaml:2:11: unknown key\n    refresh: {interal: …\n              ^\n  hint: did you mean \"interval\"?"},
		{"refresh: {then: stop}", "m.yaml:2:17: on_stale requires max_stale above 0\n    refresh: {then: …\n                    ^"},
		{"refresh: {max_stale: 0, then: stop}", "m.yaml:2:31: on_stale requires max_stale above 0"},
		{"refresh: {max_stale: hunter2}", "m.yaml:2:22: invalid max_stale: want a duration such as 10m or 1h30m, or 0 for no limit\n    refresh: {max_stale: …\n                         ^"},
		{"refresh: {max_stale: 1m, then: warm}", "m.yaml:2:32: unknown then\n    refresh: {max_stale: …, then: …\n                                  ^\n  hint: did you mean \"warn\"?"},
		{"refresh: {debounce: 2s, max_wait: 1s}", "m.yaml:2:35: max_wait is less than debounce, 2s"},
		{"refresh: {max_wait: 499ms}", "m.yaml:2:21: max_wait is less than debounce, 500ms"},
		{"exec: {ready: {tcp: \":1\"}}", "m.yaml:2:15: ready requires restart: overlap"},
		{"exec: {restart: overlap, ready: {timeout: 1s}}", "m.yaml:2:26: invalid ready: want either {command: "},
		{"exec: {on_change: restrat}", "m.yaml:2:19: unknown on_change\n    exec: {on_change: …\n                      ^\n  hint: did you mean \"restart\"?"},
		{"exec: {on_change: {signal: hunter 2}}", "m.yaml:2:28: invalid signal: want a signal such as HUP, SIGUSR1 or \"10\""},
		{"exec: {on_change: {command: hunter2}}", "m.yaml:2:29: invalid command: want a list"},
		{"env: {command: [hunter2]}", "m.yaml:2:16: invalid command: want text, a number"},
		{"env: {A: {secret: x, then: stop}}", "m.yaml:2:22: then requires max_stale"},
		{"env: {A: {secret: x, max_stale: 0, then: stop}}", "m.yaml:2:36: then requires max_stale above 0"},
		{"env: {A: {secret: x, expires_at: true}}", "m.yaml:2:22: expires_at cannot be combined with secret"},
		{"env: {A: {value: x, on_revoked: keep}}", "m.yaml:2:21: on_revoked cannot be combined with value"},
		{"env: {A: \"room:secret/x?expires_at=true\"}", "m.yaml:2:25: unknown key"},
		{"env: {A: \"room:secret/x?on_change=reload\"}", "m.yaml:2:35: unknown on_change"},
		{"env: {A: \"room:secret/x?then=stop\"}", "m.yaml:2:25: then requires max_stale"},
		{"env: {A: \"room:secret/x?max_stale=1\"}", "m.yaml:2:35: invalid max_stale"},
		{"env: {A: \"${room:secret/x?max_stale=1m} ${room:secret/y?max_stale=2m}\"}", "m.yaml:2:7: references with different update policies"},
		{"env: {A: \"${B:-room:oauth/x?expires_at=true}\"}" + oauthX, "m.yaml:2:7: file= or expires_at= within ${B:-…}"},
		{"env: {A: {oauth: x, expires_at: true}, A_EXPIRES_AT: x}" + oauthX, "m.yaml:2:7: A_EXPIRES_AT is set twice"},
		{"env: {A: \"${room:oauth/x?expires_at=true}${room:oauth/x?expires_at=true}\"}" + oauthX, "m.yaml:2:7: A_EXPIRES_AT is set twice"},
		{"files: {p: \"room:oauth/x?expires_at=true\"}" + oauthX, "m.yaml:2:9: file \"p\": file= or expires_at= in the content of a file"},
		{"files: {p: {oauth: x, expires_at: true}}" + oauthX, "m.yaml:2:23: unknown key"},
		{"files: {p: {format: json, entries: {A: {secret: x, max_stale: 1m}}}}", "m.yaml:2:37: A has an update policy"},
		{"files: {p: {format: json, entries: {A: \"${room:secret/x?max_stale=1m}\"}}}", "m.yaml:2:37: A has an update policy"},
		{"files: {p: {template: \"{{ secret \\\"x?max_stale=1m\\\" }}\"}}", "a reference in a template has an update policy"},
		{"oauth: {x: {client_id: c, client_secret: \"room:secret/s?max_stale=1m\", authorization_endpoint: https://a, token_endpoint: https://t}}", "invalid client_secret: want a whole secret"},
	} {
		write(t, map[string]string{"m.yaml": "version: 1\n" + test.text})
		_, err := manifest.Load([]string{"m.yaml"}, nil)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: got %v, want %s", test.text, err, test.want)
		}
	}
}
