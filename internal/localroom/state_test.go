package localroom_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What lies where the state of a closed store belongs is neither followed nor waited for.
func TestStateIsAFile(t *testing.T) {
	for name, put := range map[string]func(path, other string) error{
		"link": func(path, other string) error { return os.Symlink(other, path) },
		"FIFO": func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			s, path := newStore(t)
			mustSet(t, s, at("ann", "", "a"), "", "", "v")
			s.Close()
			state, other := path+".state", filepath.Join(t.TempDir(), "other")
			if err := os.WriteFile(other, []byte("other"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(state); err != nil {
				t.Fatal(err)
			}
			if err := put(state, other); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, path)
			wantSecret(t, s, at("ann", "", "a"), "", "", "application/octet-stream", "a", "v")
			s.Close()
			if b, err := os.ReadFile(other); err != nil || string(b) != "other" {
				t.Errorf("the file behind the link has %q, %v", b, err)
			}
			if info, err := os.Lstat(state); err != nil || !info.Mode().IsRegular() {
				t.Errorf("the state is not a file: %v, %v", info, err)
			}
		})
	}
}
