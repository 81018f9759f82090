package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

func TestExpandedBefore(t *testing.T) {
	m := loadText(t, "KEY=room:secret/key\nHOME=room:secret/home\n")
	unset := func(string) string { return "" }
	set := func(string) string { return "set" }
	for _, test := range []struct {
		args   []string
		getenv func(string) string
		want   bool
	}{
		{[]string{"echo"}, unset, true},
		{[]string{"echo"}, set, false},
		{[]string{"agent", "--key", ""}, unset, true},
		{[]string{"agent", "--key", ""}, set, false},
		{[]string{"echo", "-n"}, unset, false},
		{[]string{"agent"}, unset, false},
	} {
		if got := expandedByShell(test.args, m, test.getenv); got != test.want {
			t.Errorf("%q: got %v", test.args, got)
		}
	}
	if expandedByShell([]string{"echo"}, &manifest.Manifest{}, unset) {
		t.Error("there is no variable to be empty")
	}
}

func loadText(t *testing.T, text string) *manifest.Manifest {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".env.room")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Load([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
