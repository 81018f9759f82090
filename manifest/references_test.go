package manifest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/roomenv/roomenv/manifest"
)

func TestReferences(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".env.room")
	text := `A="${room:secret/a}-${B:-${room:secret/b}${C:+${room:secret/c}}}-${D:?no ${room:secret/d}}-${room:secret/e}"` + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Load([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for r, inWord := range m.Entries[0].Value.References() {
		got = append(got, fmt.Sprint(r.ID(), " ", inWord))
	}
	if want := []string{"a false", "b true", "c true", "e false"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, last := range []string{"a", "b", "c"} {
		for r := range m.Entries[0].Value.References() {
			if r.ID() == last {
				break
			}
		}
	}
}
