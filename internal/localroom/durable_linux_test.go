package localroom_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/localroom"
)

var images = flag.Int("images", 2, "crash images for each sync of a commit")

// An operation changes one secret; with no value it deletes it.
type operation struct {
	id, value string
}

var script = []operation{
	{"a", "1"}, {"b", strings.Repeat("large", 3000)}, {"a", "2"}, {"b", ""}, {"c", "3"}, {"a", ""}, {"d", strings.Repeat("d", 70000)}, {"c", "4"},
}

// A trial runs the script on a disk that fails once, and compares what is stored with
// what was acknowledged.
type trial struct {
	t     *testing.T
	name  string
	disk  *localroom.Disk
	store *localroom.Store
	dir   string

	model   map[string]string   // what is stored
	maybe   []map[string]string // what else may be on the disk: that of changes that were not acknowledged
	updated map[uint64]string   // what has this number
	told    map[string]uint64   // by id: the last change that watchers know; 0 is deleted

	images, faults *int
}

// apply is what op makes of a room.
func (op operation) apply(room map[string]string) map[string]string {
	room = maps.Clone(room)
	if op.value == "" {
		delete(room, op.id)
	} else {
		room[op.id] = op.value
	}
	return room
}

func (x *trial) run(op operation) error {
	if op.value == "" {
		return x.store.Delete(at("ann", "", op.id))
	}
	return x.store.Set(at("ann", "", op.id), "", "", value(op.value))
}

// content reads all secrets of a store.
func (x *trial) content(s *localroom.Store) map[string]string {
	list, err := s.List("demo", "ann")
	if err != nil {
		x.t.Errorf("%s: list: %v", x.name, err)
	}
	room := map[string]string{}
	for _, info := range list {
		_, v, err := s.Get(info.RecordKey, "", "")
		if err != nil {
			x.t.Errorf("%s: get %s: %v", x.name, info.ID, err)
		}
		what := info.ID + "=" + string(v.Reveal())
		if other, known := x.updated[info.Updated]; known && other != what {
			x.t.Errorf("%s: %.20s and %.20s have the same number %d", x.name, other, what, info.Updated)
		}
		x.updated[info.Updated] = what
		room[info.ID] = string(v.Reveal())
	}
	return room
}

// crash opens images of what may be on the disk if the machine fails now. It does not
// end the test, which has a commit running.
func (x *trial) crash() {
	writes := x.disk.Unsynced()
	random := rand.New(rand.NewPCG(uint64(len(writes)), uint64(*x.images)))
	subsets := 1 << min(len(writes), 20)
	for i := range min(subsets, *images) {
		subset := i // all, if they are few
		if subsets > *images {
			subset = random.IntN(subsets)
		}
		image := bytes.Clone(x.disk.Durable)
		for j, w := range writes {
			if subset>>(j%20)&1 == 1 {
				image = w.Apply(image)
			}
		}
		*x.images++
		path := filepath.Join(x.dir, "image.db")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			x.t.Error(err)
		}
		s, err := localroom.OpenStore(path, key(1))
		if err != nil {
			x.t.Errorf("%s: image %b of %d writes: %v", x.name, subset, len(writes), err)
			continue
		}
		if err := localroom.Doubt(s); err != nil {
			x.t.Errorf("%s: image %b of %d writes: %v", x.name, subset, len(writes), err)
		}
		if got := x.content(s); !maps.Equal(got, x.model) && !slices.ContainsFunc(x.maybe, func(m map[string]string) bool { return maps.Equal(got, m) }) {
			x.t.Errorf("%s: image %b of %d writes has %.300v, want %.300v or one of %.300v", x.name, subset, len(writes), got, x.model, x.maybe)
		}
		s.Close()
	}
}

// TestFaults fails each step of each commit, and goes on.
func TestFaults(t *testing.T) {
	s, path := newStore(t)
	for i := range 20 {
		mustSet(t, s, localroom.RecordKey{Room: "other", Owner: "bob", ID: fmt.Sprint(i)}, "", "", strings.Repeat("v", 300))
	}
	s.Close()
	start, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var images, faults int
	runTrial(t, start, len(script), localroom.FailNothing, &images, &faults)
	for fails := range script {
		for fault := localroom.FailTruncate; ; fault++ {
			before := faults
			runTrial(t, start, fails, fault, &images, &faults)
			if fault >= localroom.FailWrite && faults == before || t.Failed() {
				break // there is no such write
			}
		}
	}
	t.Logf("%d faults, %d crash images", faults, images)
	if faults < 5*len(script) {
		t.Error("few faults happened")
	}
}

func runTrial(t *testing.T, start []byte, fails int, fault localroom.Fault, images, faults *int) {
	path := filepath.Join(t.TempDir(), "room.db")
	if err := os.WriteFile(path, start, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, path)
	disk, err := localroom.NewDisk(s)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Remove()
	x := &trial{t: t, name: fmt.Sprintf("operation %d, fault %d", fails, fault), disk: disk, store: s, dir: t.TempDir(),
		model: map[string]string{}, updated: map[uint64]string{}, told: map[string]uint64{}, images: images, faults: faults}
	defer localroom.WatchAll(s, "demo", "ann", func(id string, number uint64, deleted bool) {
		if deleted {
			number = 0
		}
		x.told[id] = number
	})()

	for i, op := range script {
		// What comes before the failure, and long after it, is the same for all.
		if disk.OnSync = nil; fails == len(script) || i == fails || i == fails+1 {
			disk.OnSync = x.crash
		}
		after := op.apply(x.model)
		x.maybe = append(x.maybe, after)
		if i == fails {
			if err := disk.Fail(fault); err != nil {
				t.Fatal(err)
			}
		}
		err := x.run(op)
		if err := disk.Heal(err); err != nil {
			t.Fatal(err)
		}
		notFound := errors.Is(err, localroom.ErrNotFound) // what was not set before
		if err != nil && i != fails && !notFound {
			t.Fatalf("%s: operation %d after that: %v", x.name, i, err)
		}
		if err != nil && i == fails && !notFound {
			*faults++
		}
		if err == nil {
			x.model, x.maybe = after, nil
		}
		if disk.OnSync != nil {
			x.crash()
		}
		got := x.content(s)
		if !maps.Equal(got, after) && (err == nil || !maps.Equal(got, x.model)) {
			t.Fatalf("%s: operation %d, error %v, made it %.300v of %.300v", x.name, i, err, got, x.model)
		}
		x.model, x.maybe = got, append(x.maybe, x.model) // until the next one is acknowledged
		x.checkTold()
	}
	s.Close()
	disk.Remove()
	s = openStore(t, path)
	if got := x.content(s); !maps.Equal(got, x.model) || localroom.Doubt(s) != nil {
		t.Errorf("%s: opened again: %.300v, want %.300v, %v", x.name, got, x.model, localroom.Doubt(s))
	}
}

// checkTold compares what watchers know with what is stored.
func (x *trial) checkTold() {
	list, err := x.store.List("demo", "ann")
	if err != nil {
		x.t.Fatal(err)
	}
	stored := map[string]uint64{}
	for _, info := range list {
		stored[info.ID] = info.Updated
	}
	for id, number := range x.told {
		if stored[id] != number {
			x.t.Errorf("%s: watchers know change %d of %s, which has %d", x.name, number, id, stored[id])
		}
	}
	for id, number := range stored {
		if x.told[id] != number {
			x.t.Errorf("%s: watchers know change %d of %s, which has %d", x.name, x.told[id], id, number)
		}
	}
}

// What a failed sync left in doubt is on disk before anything else is acknowledged.
func TestNothingBuildsOnAFailedSync(t *testing.T) {
	s, _ := newStore(t)
	mustSet(t, s, at("ann", "", "a"), "", "", "before")
	disk, err := localroom.NewDisk(s)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Remove()
	for i, fault := range []localroom.Fault{localroom.FailMetaSync, localroom.FailSettle, localroom.FailNothing} {
		if err := disk.Fail(fault); err != nil {
			t.Fatal(err)
		}
		err := s.Set(at("ann", "", "b"), "", "", value(fmt.Sprint(i)))
		if (err == nil) != (fault == localroom.FailNothing) {
			t.Errorf("fault %d: %v", fault, err)
		}
		if maybe := err != nil && strings.Contains(err.Error(), "may be stored"); maybe != (fault == localroom.FailMetaSync) {
			t.Errorf("fault %d: %v", fault, err)
		}
		if err := disk.Heal(err); err != nil {
			t.Fatal(err)
		}
	}
	wantSecret(t, s, at("ann", "", "b"), "", "", localroom.DefaultType, "b", "2")
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
