package localroom_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/roomenv/roomenv/internal/localroom"
)

// What a set has answered is on disk: one that is not does not answer.
func TestSetIsSynced(t *testing.T) {
	s, path := newStore(t)
	mustSet(t, s, at("ann", "", "a"), "", "", "before") // which extends the file
	if err := localroom.FailSyncs(s); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(at("ann", "", "a"), "", "", value("lost")); err == nil {
		t.Error("a set that was not synced was answered")
	}
	if err := s.Delete(at("ann", "", "a")); err == nil {
		t.Error("a delete that was not synced was answered")
	}
	wantSecret(t, s, at("ann", "", "a"), "", "", localroom.DefaultType, "a", "before")
	s.Close()
	wantSecret(t, openStore(t, path), at("ann", "", "a"), "", "", localroom.DefaultType, "a", "before")
}

// The files of a room are complete and on disk before they have their names, and
// the names are on disk before the room is used.
func TestNewFilesAreSynced(t *testing.T) {
	dir := t.TempDir()
	exists := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	var synced []string
	defer localroom.ObserveSyncs(func(path string) error {
		if path == dir {
			synced = append(synced, "directory")
			return nil
		}
		synced = append(synced, "file")
		file := "room.key"
		if exists(file) {
			file = "room.db"
		}
		if exists(file) {
			t.Errorf("%s has its name before it is synced", file)
		}
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s is empty when it is synced, %v", file, err)
		}
		return nil
	})()
	r := openRoom(t, dir)
	if want := []string{"file", "directory"}; !slices.Equal(synced, want) || !exists("room.key") {
		t.Errorf("for the key these are synced: %v", synced)
	}
	if err := r.Acquire(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"file", "directory", "file", "directory"}; !slices.Equal(synced, want) || !exists("room.db") {
		t.Errorf("for key and store these are synced: %v", synced)
	}
}

func TestNewFileThatIsNotSynced(t *testing.T) {
	broken := errors.New("broken disk")
	for _, fails := range []string{"file", "directory"} {
		dir := t.TempDir()
		restore := localroom.ObserveSyncs(func(path string) error {
			if (path == dir) == (fails == "directory") {
				return broken
			}
			return nil
		})
		_, err := localroom.Open(dir, localroom.Options{})
		_, err2 := localroom.OpenStore(filepath.Join(dir, "room.db"), key(1))
		restore()
		if !errors.Is(err, broken) || !errors.Is(err2, broken) {
			t.Errorf("the %s is not synced: %v, %v", fails, err, err2)
		}
	}
}
