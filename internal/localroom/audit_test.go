package localroom_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/trustedpath"
	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
)

// audited returns a server, and a function that returns the new lines of its log.
func audited(t *testing.T) (s *testServer, lines func() []string) {
	path := filepath.Join(t.TempDir(), "audit.log")
	log, err := localroom.OpenAudit(path, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	read := 0
	return serveAudited(t, log), func() []string {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		fresh := b[read:]
		read = len(b)
		return strings.SplitAfter(strings.TrimSuffix(string(fresh), "\n"), "\n")
	}
}

// A participant cannot hide or bloat what its calls are about.
func TestAuditArguments(t *testing.T) {
	s, lines := audited(t)
	p := s.connect("ann", scoped())
	if err := setSecret(t.Context(), p, "key", "v"); err != nil {
		t.Fatal(err)
	}
	lines()
	long := strings.Repeat("<", 1<<19)
	for _, tt := range []struct{ arguments, want string }{
		{`{"secret_id":"key"}`, `{"secret_id":"key"}`},
		{`{"secret_id":"key","token_endpoint":1,"oauth":[],"error":{}}`, `{"secret_id":"key","token_endpoint":"(not a string)","rejects":true}`},
		{`{"secret_id":"key","oauth":{"client_id":{},"token_endpoint":"https://p"}}`, `{"secret_id":"key","client_id":"(not a string)","token_endpoint":"https://p"}`},
		{`{"secret_id":1,"name":"key"}`, `{"secret_id":"(not a string)","name":"key"}`},
		{`{"secret_id":"other","SECRET_ID":"key","Secret_ID":null}`, `{"secret_id":"key"}`},
		{`{"secret_id":"<\u202e\n>"}`, `{"secret_id":"<\u202e\n>"}`},
		{`{"secret_id":"` + long + `"}`, `{"secret_id":"` + long[:1024] + `… (524288 bytes)"}`},
		{`{"secret_id":null}`, ""},
	} {
		if _, err := p.invoke(t.Context(), wire.Secrets, wire.GetSecret, jsonObject(tt.arguments)); err != nil {
			t.Fatal(err)
		}
		got := lines()
		_, arguments, _ := strings.Cut(got[0], `"arguments":`)
		arguments, _, _ = strings.Cut(arguments, `,"result":`)
		if len(got) != 1 || arguments != tt.want {
			t.Errorf("%.100s is logged as %.2000q, want %.2000s", tt.arguments, got, tt.want)
		}
	}
}

// Calls that no tool executes, changes of attributes and revocations are recorded too.
func TestAuditRefusals(t *testing.T) {
	s, lines := audited(t)
	type entry struct {
		Identity, Operation, Result string
		TokenID                     string `json:"token_id"`
		Arguments                   map[string]string
	}
	p, err := connect(t.Context(), nil, s.URL+"/rooms/demo", sign(t, s.dir, token.Token{Name: "ann", Room: "demo", API: scoped(), ID: "1"}))
	if err != nil {
		t.Fatal(err)
	}
	defer p.conn.CloseNow()
	p.patience = patience
	lines()
	check := func(want ...entry) {
		t.Helper()
		var got []entry
		for _, line := range lines() {
			var e entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Errorf("line %q: %v", line, err)
			}
			got = append(got, e)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("recorded %.2000v, want %.2000v", got, want)
		}
	}
	call := func(typ, header string) {
		t.Helper()
		if c, err := p.request(t.Context(), typ, wire.Pack([]byte(header), nil)); err != nil {
			t.Fatal(err)
		} else if _, refused := c.(wire.Error); !refused {
			t.Errorf("%s is not refused", typ)
		}
	}
	invoke := func(toolkit, tool, more string) {
		t.Helper()
		call(wire.TypeInvokeTool, `{"toolkit":"`+toolkit+`","tool":"`+tool+`","arguments":{"type":"json","json":{"secret_id":"key"}}`+more+`}`)
	}
	key := map[string]string{"secret_id": "key"}

	invoke("secrets", "get_secret", `,"on_behalf_of_id":"bob"`)
	check(entry{"ann", "secrets.get_secret", "permission denied", "1", key})
	invoke("secrets", "none", "")
	check(entry{"ann", "secrets.none", "not found", "1", key})
	invoke("none", strings.Repeat("x", 2000), "")
	check(entry{"ann", "none." + strings.Repeat("x", 1019) + "… (2005 bytes)", "not found", "1", key})
	invoke("secrets", "watch", "")
	check(entry{"ann", "secrets.watch", "invalid request", "1", key})
	call("none", `{}`)
	check(entry{"ann", "none", "not found", "1", nil})

	if _, err := p.send(t.Context(), wire.TypeSetAttributes, wire.Pack([]byte(`{"a":"b"}`), nil)); err != nil {
		t.Fatal(err)
	}
	call("none", `{}`)
	check(entry{"ann", "set_attributes", "ok", "1", nil}, entry{"ann", "none", "not found", "1", nil})

	if err := s.local.Revoke("1"); err != nil {
		t.Fatal(err)
	}
	check(entry{"", "revoke", "ok", "1", nil})
}

// The log is a file that other users cannot write, and opening never blocks.
func TestAuditFile(t *testing.T) {
	const stranger = 65533
	for name, tt := range map[string]struct {
		prepare func(path string) error
		want    error // nil: any
		root    bool  // needs root
		fine    bool
	}{
		"new":       {prepare: func(string) error { return nil }, fine: true},
		"private":   {prepare: func(p string) error { return os.WriteFile(p, nil, 0o640) }, fine: true},
		"own link":  {prepare: func(p string) error { return os.Symlink("target", p) }, fine: true},
		"FIFO":      {prepare: func(p string) error { return unix.Mkfifo(p, 0o600) }},
		"device":    {prepare: func(p string) error { return os.Symlink("/dev/null", p) }},
		"directory": {prepare: func(p string) error { return os.Mkdir(p, 0o700) }},
		"writable": {prepare: func(p string) error {
			return errors.Join(os.WriteFile(p, nil, 0o600), os.Chmod(p, 0o666))
		}, want: trustedpath.ErrUntrusted},
		"of a stranger": {prepare: func(p string) error {
			return errors.Join(os.WriteFile(p, nil, 0o600), os.Chown(p, stranger, 0))
		}, want: trustedpath.ErrUntrusted, root: true},
		"link of a stranger": {prepare: func(p string) error {
			return errors.Join(os.Symlink("target", p), os.Lchown(p, stranger, 0))
		}, want: trustedpath.ErrUntrusted, root: true},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.root && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			path := filepath.Join(t.TempDir(), "audit.log")
			if err := tt.prepare(path); err != nil {
				t.Fatal(err)
			}
			if name == "FIFO" { // with a reader, so that opening does not block
				reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer reader.Close()
			}
			log, err := localroom.OpenAudit(path, false)
			if err == nil {
				defer log.Close()
			}
			if (err == nil) != tt.fine || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("open: %v", err)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), "target")); name == "link of a stranger" && err == nil {
				t.Error("the target is created")
			}
		})
	}
}
