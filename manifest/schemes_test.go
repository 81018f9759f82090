package manifest_test

import (
	"strings"
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

// References of a scheme that the program adds are read by one grammar; what the
// source of it makes of kind, id and parameters is its own.
func TestSchemes(t *testing.T) {
	write(t, map[string]string{
		"m.env": `A="file:token/a%20b?y=2&optional=true&x=%26&max_stale=1m#user"
B="at ${file:token//etc/b?default=none} ${C:-file:token/c}"
D=http://x
E='file:token/e'
F=${file:-${room:-x}}
G=file://other/token/g?verbose
H='account:secret/h'
I=account:5
`,
		"m.yaml": "version: 1\nenv: {J: file:token/j, K: {value: account:secret/k}}\n",
	})
	m, err := manifest.Load([]string{"m.env", "m.yaml"}, []string{"L=file:token/l", "M=http://x", "N=file"}, "file")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range m.Entries {
		for r := range e.Value.References() {
			got[e.Name] += r.String() + " "
		}
	}
	want := map[string]string{
		"A": "file:token/a%20b?x=%26&y=2#user ",
		"B": "file:token/%2Fetc%2Fb file:token/c ",
		"G": "file://other/token/g?verbose= ",
		"J": "file:token/j ",
		"L": "file:token/l ",
	}
	for _, e := range m.Entries {
		if got[e.Name] != want[e.Name] {
			t.Errorf("%s: references %q, want %q", e.Name, got[e.Name], want[e.Name])
		}
	}
	if m.Entries[0].Name != "L" {
		t.Fatalf("the first entry is %s", m.Entries[0].Name)
	}
	a := m.Entries[1].Value[0].Reference
	if a.Scheme != "file" || a.Kind() != "token" || a.ID() != "a b" || a.Param("x") != "&" || a.Param("optional") != "" || !a.Optional {
		t.Errorf("A: got %+v", a)
	}

	// Without the scheme these are texts.
	m, err = manifest.Load(nil, []string{"L=file:token/l"})
	if err != nil || len(m.Entries) > 0 {
		t.Errorf("got %+v, %v", m, err)
	}
}

func TestSchemeErrors(t *testing.T) {
	for text, want := range map[string]string{
		"A=file:token":                                         "1:13: missing ID",
		"A=file:":                                              "1:8: missing kind",
		"A=file:token/x?=1":                                    "1:16: unknown key",
		"A=file:token/x?y=1&y=2":                               "1:20: duplicate key",
		"A=file:token/x?optional=yes":                          "1:25: invalid optional: want true or false",
		"A=file:token/x?broker=a.example":                      "1:16: the key broker is reserved",
		"A=room:secret/x?broker=a.example":                     "1:17: the key broker is reserved",
		"A=account:secret/x":                                   "1:3: the scheme account: is reserved",
		"A=\"x ${account:secret/x}\"":                          "1:8: the scheme account: is reserved",
		"A=${B:-account:secret/x}":                             "1:8: the scheme account: is reserved",
		"A=${flie:secret/hunter2}":                             `did you mean "file"?`,
		"A=${vault:secret/hunter2}":                            "1:5: unknown scheme",
		"A=${rom:secret/hunter2}":                              `did you mean "room"?`,
		"version: 1\nenv: {A: {secret: x, broker: a.example}}": "2:22: the key broker is reserved",
		"version: 1\noauth: {x: {connector: {server_url: http://m}, client_secret: rom:secret/x}}":  `did you mean "room"?`,
		"version: 1\noauth: {x: {connector: {server_url: http://m}, client_secret: file:secret/x}}": "invalid client_secret: want a reference to a secret",
		"version: 1\noauth: {x: {connector: {server_url: http://m}, client_secret: pass:word}}":     "invalid client_secret: want a reference to a secret",
	} {
		name := "m.env"
		if strings.HasPrefix(text, "version") {
			name = "m.yaml"
		}
		_, errs := manifest.Parse(name, text)
		if errs == nil || !strings.Contains(errs.Error(), want) || strings.Contains(errs.Error(), "hunter2") && !strings.Contains(text, "${") {
			t.Errorf("%s: got %v, want %s", text, errs, want)
		}
	}
	_, err := manifest.Load(nil, []string{"A=account:secret/x"})
	if err == nil || !strings.Contains(err.Error(), "variable A: the scheme account: is reserved") {
		t.Errorf("got %v", err)
	}
}

// The client is part of what is fetched: two manifests that describe it differently
// have different targets, and what is printed of them is the same.
func TestTargetHasItsClient(t *testing.T) {
	load := func(id string) manifest.Target {
		write(t, map[string]string{"m.yaml": "version: 1\nenv: {A: {oauth: x, from: bob}}\noauth: {x: {client_id: " + id +
			", authorization_endpoint: https://a, token_endpoint: https://t, redirect_uri: http://127.0.0.1:1/, client_secret: room:secret/s}}\n"})
		m, err := manifest.Load([]string{"m.yaml"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		target := m.Entries[0].Value[0].Reference.Target
		if c, ok := target.OAuthClient(); !ok || c.ClientID != id || c.ClientSecret.String() != "room:secret/s" {
			t.Errorf("the client is %+v, %v", c, ok)
		}
		own := m.OAuth["x"].Target("x")
		if own.Params = target.Params; own != target {
			t.Errorf("%#v is not %#v", own, target)
		}
		return target
	}
	one, same, other := load("one"), load("one"), load("other")
	if one != same || one == other || one.String() != other.String() || one.String() != "room:oauth/x?from=bob" {
		t.Errorf("got %#v, %#v, %#v", one, same, other)
	}
	if _, ok := (manifest.Target{Scheme: manifest.SchemeRoom, Path: "secret/x"}).OAuthClient(); ok {
		t.Error("a secret has a client")
	}
}
