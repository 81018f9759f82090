package render_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

func TestPolicy(t *testing.T) {
	inherited := []string{"PATH=/bin", "HOME=/root", "MESHAGENT_TOKEN=token", "NAMED=n", "NODE_OPTIONS=--inherited"}
	m := file(
		entry("NAMED", is("NAMED")),
		entry("FROM_HOME", is("HOME")),
		entry("KEY", ref("a")),
		entry("LD_PRELOAD", text("/lib/ours.so")),
		entry("PATH", is("PATH"), text(":/opt")),
	)
	for name, test := range map[string]struct {
		policy render.Policy
		want   []string
	}{
		"zero": {render.Policy{}, []string{"PATH=/bin:/opt", "HOME=/root", "MESHAGENT_TOKEN=token", "NAMED=n",
			"NODE_OPTIONS=--inherited", "FROM_HOME=/root", "KEY=alpha", "LD_PRELOAD=/lib/ours.so"}},
		"pristine": {render.Policy{Pristine: true}, []string{"PATH=/bin:/opt", "NAMED=n", "FROM_HOME=/root", "KEY=alpha", "LD_PRELOAD=/lib/ours.so"}},
		"strip": {render.Policy{Strip: []string{"MESHAGENT_TOKEN", "HOME", "NODE_OPTIONS", "KEY", "NONE"}},
			[]string{"PATH=/bin:/opt", "NAMED=n", "FROM_HOME=", "KEY=alpha", "LD_PRELOAD=/lib/ours.so"}},
	} {
		s, err := fetch.Resolve(t.Context(), m, fetch.Mux{manifest.SchemeRoom: room{"a": "alpha"}})
		if err != nil {
			t.Fatal(err)
		}
		g, err := test.policy.Render(m, s, inherited, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Environ(); !slices.Equal(got, test.want) {
			t.Errorf("%s\ngot  %q\nwant %q", name, got, test.want)
		}
	}
}

// The variables of the directory of the files, beside an inherited directory.
func TestFilesDirectory(t *testing.T) {
	const service, outer, files, credentials = "CREDENTIALS_DIRECTORY=/run/service", "ROOMENV_FILES=/run/service", "ROOMENV_FILES=/run/x/current", "CREDENTIALS_DIRECTORY=/run/x/current"
	inherits := manifest.Entry{Name: "CREDENTIALS_DIRECTORY", Value: template{is("CREDENTIALS_DIRECTORY")}}
	for name, test := range map[string]struct {
		policy    render.Policy
		entries   []manifest.Entry
		inherited []string
		dir       string
		want      []string
	}{
		"none":           {dir: "/run/x/current", want: []string{credentials, files}},
		"empty":          {dir: "/run/x/current", inherited: []string{"CREDENTIALS_DIRECTORY="}, want: []string{credentials, files}},
		"service":        {dir: "/run/x/current", inherited: []string{service}, want: []string{service, files}},
		"outer roomenv":  {dir: "/run/x/current", inherited: []string{service, outer}, want: []string{credentials, files}},
		"stripped":       {policy: render.Policy{Strip: []string{"CREDENTIALS_DIRECTORY"}}, dir: "/run/x/current", inherited: []string{service}, want: []string{credentials, files}},
		"pristine":       {policy: render.Policy{Pristine: true}, dir: "/run/x/current", inherited: []string{service}, want: []string{credentials, files}},
		"pristine, kept": {policy: render.Policy{Pristine: true}, entries: []manifest.Entry{inherits}, dir: "/run/x/current", inherited: []string{service}, want: []string{service, files}},
		"no files":       {inherited: []string{service, outer}, want: []string{service}},
	} {
		g, err := test.policy.Render(file(test.entries...), &fetch.Snapshot{}, test.inherited, test.dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Environ(); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// TestDangerous has the name of a dangerous variable with values that are, and
// are not, from a room.
func TestDangerous(t *testing.T) {
	other := []manifest.Entry{entry("SECRET", ref("a")), entry("LITERAL", text("x")), entry("DEEP", is("SECRET"))}
	for _, test := range []struct {
		name    string
		value   template
		refused bool
	}{
		{"LD_PRELOAD", template{ref("a")}, true},
		{"LD_LIBRARY_PATH", template{text("/lib:"), ref("a")}, true},
		{"DYLD_INSERT_LIBRARIES", template{ref("a")}, true},
		{"PATH", template{is("PATH"), text(":"), is("SECRET")}, true},
		{"BASH_ENV", template{is("DEEP")}, true},
		{"NODE_OPTIONS", template{is("UNSET :-", ref("a"))}, true},
		{"IFS", template{ref("missing", optional)}, true},
		{"PYTHONPATH", template{ref("a", fallback("/safe"))}, true},
		{"LD_PRELOAD", template{{File: "l.so"}}, true},
		{"NODE_OPTIONS", template{text("--require "), is("UNSET :-", manifest.Part{File: "l.so"})}, true},
		{"PYTHONPATH", template{is("CREDENTIALS_DIRECTORY"), text("/lib")}, true},
		{"PYTHONPATH", template{is("ROOMENV_FILES"), text("/lib")}, true},
		{"BASH_FUNC_ls%%", template{ref("a")}, true},
		{"GIT_SSH_COMMAND", template{ref("a")}, true},
		{"Npm_Config_Script_Shell", template{ref("a")}, true},
		{"RESTIC_PASSWORD_COMMAND", template{ref("a")}, true},
		{"PYTEST_ADDOPTS", template{ref("a")}, true},
		{"SVN_SSH", template{ref("a")}, true},
		{"JAVA_TOOL_OPTIONS", template{ref("a")}, true},
		{"PS4", template{ref("a")}, true},
		{"EDITOR", template{ref("a")}, true},
		{"PAGER", template{ref("a")}, true},
		{"LD_PRELOAD", template{text("/lib/ours.so")}, false},
		{"PATH", template{is("PATH"), text("/opt"), is("LITERAL")}, false},
		{"ENV", template{is("ENV")}, false},
		{"DATABASE_URL", template{is("SECRET")}, false},
		{"ENVIRONMENT", template{ref("a")}, false},
	} {
		m := file(append(slices.Clone(other), entry(test.name, test.value...))...)
		m.Files = []manifest.File{{Path: "l.so", Entries: []manifest.Entry{entry("", ref("a"))}}}
		s, err := fetch.Resolve(t.Context(), m, fetch.Mux{manifest.SchemeRoom: room{"a": "value-of-a"}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = render.Policy{}.Render(m, s, nil, "")
		if refused := err != nil; refused != test.refused {
			t.Errorf("%s %v: got %v", test.name, test.value, err)
		}
		if err != nil && (!errors.Is(err, render.ErrLoadsCode) || !strings.Contains(err.Error(), test.name) || !strings.Contains(err.Error(), ".env.room:4:1") || strings.Contains(err.Error(), "value-of-a")) {
			t.Errorf("the error reads %q", err)
		}
		if _, err = (render.Policy{Allow: []string{"OTHER"}}).Render(m, s, nil, ""); (err != nil) != test.refused {
			t.Errorf("%s, when another one is allowed: %v", test.name, err)
		}
		if _, err = (render.Policy{Allow: []string{test.name}}).Render(m, s, nil, ""); err != nil {
			t.Errorf("%s is allowed and refused: %v", test.name, err)
		}
	}
}
