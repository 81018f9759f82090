package localroom_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/localroom"
)

var damages = flag.Int("damages", 60, "damaged files of each kind")

// A sample is the file of a store with deletions, overwrites, several pages of
// records and a value that runs over pages.
type sample struct {
	file            []byte
	content, before map[localroom.RecordKey]string // after the last commit and before it
}

func sampleStore(t testing.TB) sample {
	t.Helper()
	s, path := newStore(t)
	content := map[localroom.RecordKey]string{}
	var before map[localroom.RecordKey]string
	for i := range 60 {
		a := at(fmt.Sprint("owner", i%3), []string{"", "bot"}[i%2], fmt.Sprint("secret", i))
		content[a] = strings.Repeat("v", i*i%977)
		if i == 30 {
			content[a] = strings.Repeat("large", 4000)
		}
		mustSet(t, s, a, "", "", "before")
		mustSet(t, s, a, "text/plain", "", content[a])
	}
	for i, a := range slices.Collect(maps.Keys(content)) {
		if i%5 == 0 {
			before = maps.Clone(content)
			delete(content, a)
			if err := s.Delete(a); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sample{file, content, before}
}

// checkDamaged opens file, a damaged sample, as a store: it may fail with
// ErrDamaged or have the right content, and it is not changed. With a damaged meta
// page the content may be that before the last commit. It reports whether damage
// was found.
//
// The same holds, but for what is not read, of a store whose damage is none that a
// program wrote to the file: it is taken for what it was when it was closed.
func checkDamaged(t *testing.T, dir string, file []byte, sample sample, what string) (found bool) {
	t.Helper()
	found = checkOpened(t, dir, file, sample, what, false)
	checkOpened(t, dir, file, sample, what+", taken as closed", true)
	return found
}

func checkOpened(t *testing.T, dir string, file []byte, sample sample, what string, closed bool) (found bool) {
	t.Helper()
	content := sample.content
	path := filepath.Join(dir, "damaged.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if closed {
		original := filepath.Join(dir, "original.db")
		if err := os.WriteFile(original, sample.file, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := localroom.TakeAsClosed(path, original, key(1)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := localroom.OpenStore(path, key(1))
	if err == nil {
		found = localroom.Doubt(s) != nil
		lists := 0
		for _, owner := range []string{"owner0", "owner1", "owner2"} {
			list, err := s.List("demo", owner)
			if err != nil && !errors.Is(err, localroom.ErrDamaged) {
				t.Errorf("%s: list: %v", what, err)
			}
			found = found || err != nil
			lists += len(list)
		}
		if lists == len(sample.before) && !bytes.HasPrefix(file, sample.file[:2*4096]) {
			content = sample.before
		}
		if !found && lists != len(content) {
			t.Errorf("%s: %d secrets of %d are listed", what, lists, len(content))
		}
		for a, want := range content {
			_, got, err := s.Get(a, "", "")
			switch {
			case errors.Is(err, localroom.ErrDamaged):
				found = true
			case err != nil:
				t.Errorf("%s: get: %v", what, err)
			case string(got.Reveal()) != want:
				t.Errorf("%s: a wrong value", what)
			}
		}
		s.Close()
	} else if found = true; !errors.Is(err, localroom.ErrDamaged) {
		t.Errorf("%s: %v, not ErrDamaged", what, err)
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(file, after) {
		t.Errorf("%s: the file was changed, error %v", what, err)
	}
	return found
}

func TestSoundFileIsNotDamaged(t *testing.T) {
	sample := sampleStore(t)
	file := sample.file
	if checkDamaged(t, t.TempDir(), file, sample, "a sound file") {
		t.Error("damage was found in a sound file")
	}
}

func TestTruncatedFile(t *testing.T) {
	sample := sampleStore(t)
	file := sample.file
	dir := t.TempDir()
	sizes := []int{0, 1, 15, 16, 79, 80, 4095, 4096, 4097, 8191, 8192, 12288, 16384, len(file) / 2, len(file) - 4096*4}
	for size := 5000; size < len(file); size += 7777 {
		sizes = append(sizes, size)
	}
	found := 0
	for _, size := range sizes {
		if checkDamaged(t, dir, file[:size], sample, fmt.Sprintf("cut to %d of %d bytes", size, len(file))) {
			found++
		}
	}
	if found < len(sizes)/2 {
		t.Errorf("%d of %d cuts were found", found, len(sizes))
	}
}

func TestFlippedBits(t *testing.T) {
	sample := sampleStore(t)
	file := sample.file
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	var places []int
	for range *damages {
		places = append(places, random.IntN(len(file)*8))
	}
	// The headers of pages and elements, where bbolt is at its most trusting.
	for page := 0; page < len(file); page += 4096 {
		for range max(1, *damages/60) {
			places = append(places, (page+random.IntN(96))*8+random.IntN(8))
		}
	}
	found := 0
	for _, bit := range places {
		flipped := bytes.Clone(file)
		flipped[bit/8] ^= 1 << (bit % 8)
		if checkDamaged(t, dir, flipped, sample, fmt.Sprintf("bit %d of byte %d flipped", bit%8, bit/8)) {
			found++
		}
	}
	t.Logf("%d of %d flips were found, the others are in bytes that nothing uses", found, len(places))
	if found == 0 {
		t.Error("no flip was found")
	}
}

func TestOverwrittenPages(t *testing.T) {
	sample := sampleStore(t)
	file := sample.file
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	pages := len(file) / 4096
	for i := range *damages {
		damaged := bytes.Clone(file)
		to := random.IntN(pages)
		what := fmt.Sprintf("page %d ", to)
		switch page := damaged[to*4096:][:4096]; i % 3 {
		case 0:
			clear(page)
			what += "zeroed"
		case 1:
			from := random.IntN(pages)
			copy(page, file[from*4096:][:4096])
			what += fmt.Sprint("is a copy of page ", from)
		case 2:
			for j := range page {
				page[j] = byte(random.Uint32())
			}
			what += "is noise"
		}
		checkDamaged(t, dir, damaged, sample, what)
	}
}

// bbolt writes its two meta pages in turn, so that one which is torn by a power
// cut leaves the commit before: a store opens with that, and goes on from there.
func TestTornMetaPage(t *testing.T) {
	s, path := newStore(t)
	mustSet(t, s, at("ann", "", "a"), "", "", "before")
	mustSet(t, s, at("ann", "", "a"), "", "", "last")
	s.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for page := range 2 {
		for what, tear := range map[string]func(page []byte){
			"zeroed":  func(page []byte) { clear(page) },
			"noise":   func(page []byte) { _, _ = rand.NewChaCha8([32]byte{1}).Read(page) },
			"flipped": func(page []byte) { page[40] ^= 1 },
			"half":    func(page []byte) { clear(page[48:]) },
		} {
			torn := bytes.Clone(file)
			tear(torn[page*4096:][:4096])
			path := filepath.Join(t.TempDir(), "room.db")
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			s := openStore(t, path)
			_, v, err := s.Get(at("ann", "", "a"), "", "")
			if err != nil {
				t.Fatalf("meta page %d %s: %v", page, what, err)
			}
			got = append(got, string(v.Reveal()))
			mustSet(t, s, at("ann", "", "b"), "", "", "next")
			s.Close()
			s = openStore(t, path)
			wantSecret(t, s, at("ann", "", "a"), "", "", localroom.DefaultType, "a", string(v.Reveal()))
			wantSecret(t, s, at("ann", "", "b"), "", "", localroom.DefaultType, "b", "next")
		}
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, []string{"before", "last"}) {
		t.Errorf("the values are %q", got)
	}

	clear(file[:2*4096])
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := localroom.OpenStore(path, key(1)); !errors.Is(err, localroom.ErrDamaged) {
		t.Errorf("both meta pages are torn: %v", err)
	}
}

func TestTornMetaPageIsLogged(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	for _, want := range []string{"", "meta page"} {
		log.Reset()
		r, err := localroom.Open(dir, localroom.Options{Server: localroom.ServerConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))}})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Acquire(), r.Close()); err != nil {
			t.Fatal(err)
		}
		if want == "" && log.Len() > 0 || !strings.Contains(log.String(), want) {
			t.Errorf("the log is %q", log.String())
		}
		file, err := os.OpenFile(filepath.Join(dir, "room.db"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(make([]byte, 4096), 4096); err != nil {
			t.Fatal(err)
		}
		file.Close()
	}
}

// A record that is put where another one is does not pass for it.
func TestSwappedRecords(t *testing.T) {
	s, path := newStore(t)
	const size = 64
	mustSet(t, s, at("ann", "", "a"), "", "", strings.Repeat("a", size))
	mustSet(t, s, at("ann", "", "b"), "", "", strings.Repeat("b", size))
	s.Close()
	for _, bucket := range []string{"info", "values"} {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		swapped := filepath.Join(t.TempDir(), "swapped.db")
		if err := os.WriteFile(swapped, file, 0o600); err != nil {
			t.Fatal(err)
		}
		swapRecords(t, swapped, bucket)
		s := openStore(t, swapped)
		if err := localroom.Doubt(s); !errors.Is(err, localroom.ErrAltered) {
			t.Errorf("swapped %s: %v", bucket, err)
		}
		if _, _, err := s.Get(at("ann", "", "a"), "", ""); !errors.Is(err, localroom.ErrDamaged) {
			t.Errorf("swapped %s: %v", bucket, err)
		}
		s.Close()
	}
}

func TestLostRecord(t *testing.T) {
	s, path := newStore(t)
	for _, id := range []string{"a", "b"} {
		mustSet(t, s, at("ann", "", id), "", "", id)
	}
	s.Close()
	loseRecord(t, path)
	for range 2 {
		s := openStore(t, path)
		if err := localroom.Doubt(s); !errors.Is(err, localroom.ErrAltered) || !strings.Contains(err.Error(), "found ") {
			t.Errorf("a record is missing: %v", err)
		}
		// A change does not cover it up.
		mustSet(t, s, at("ann", "", "a"), "", "", "a")
		if err := s.Delete(at("ann", "", "a")); err != nil {
			t.Error(err)
		}
		s.Close()
	}
}

func TestNoStore(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"empty": "", "text": "hello\n", "long text": strings.Repeat("hello\n", 10000), "zeros": strings.Repeat("\x00", 1<<16),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := localroom.OpenStore(path, key(1)); !errors.Is(err, localroom.ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if after, _ := os.ReadFile(path); string(after) != content {
			t.Errorf("%s was changed", name)
		}
	}
	if _, err := localroom.OpenStore(dir, key(1)); err == nil {
		t.Error("a folder was opened as a store")
	}
	if _, err := localroom.OpenStore(filepath.Join(dir, "none", "room.db"), key(1)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

func TestWrongKey(t *testing.T) {
	s, path := newStore(t)
	mustSet(t, s, at("ann", "", "a"), "", "", "v")
	s.Close()
	before, _ := os.ReadFile(path)
	if _, err := localroom.OpenStore(path, key(2)); !errors.Is(err, localroom.ErrWrongKey) || errors.Is(err, localroom.ErrDamaged) {
		t.Errorf("wrong key: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	if _, err := localroom.OpenStore(path, value("short")); err == nil {
		t.Error("a short key was taken")
	}
	// The refusals let go of the lock.
	wantSecret(t, openStore(t, path), at("ann", "", "a"), "", "", localroom.DefaultType, "a", "v")
}

func TestLocked(t *testing.T) {
	_, path := newStore(t)
	opened := make(chan error, 1)
	go func() {
		_, err := localroom.OpenStore(path, key(1))
		opened <- err
	}()
	if err := next(t, opened); !errors.Is(err, localroom.ErrLocked) {
		t.Errorf("open twice: %v", err)
	}
}

// A file that is cut while it is open must not bring the process down.
func TestCutWhileOpen(t *testing.T) {
	for _, size := range []int64{0, 4096, 8192, 20000} {
		s, path := newStore(t)
		for i := range 50 {
			mustSet(t, s, at("ann", "", fmt.Sprint(i)), "", "", strings.Repeat("v", 2000))
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if _, _, err := s.Get(at("ann", "", fmt.Sprint(i)), "", ""); !errors.Is(err, localroom.ErrDamaged) {
				t.Errorf("cut to %d, get: %v", size, err)
			}
			if err := s.Set(at("ann", "", fmt.Sprint(i)), "", "", value("v")); !errors.Is(err, localroom.ErrDamaged) {
				t.Errorf("cut to %d, set: %v", size, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() != size {
			t.Errorf("the file was changed: %v, error %v", info.Size(), err)
		}
		if _, err := localroom.OpenStore(path, key(1)); !errors.Is(err, localroom.ErrDamaged) {
			t.Errorf("cut to %d, opened again: %v", size, err)
		}
	}
}

// A set that would not meet what is missing must not go on with the rest.
func TestCutAtTheEnd(t *testing.T) {
	s, path := newStore(t)
	const records = 40
	for i := range records {
		mustSet(t, s, at("ann", "", fmt.Sprint(i)), "", "", strings.Repeat("v", 200))
	}
	mustSet(t, s, at("ann", "", "large"), "", "", strings.Repeat("v", 100<<10)) // at the end
	for i := range 3 {
		mustSet(t, s, at("ann", "", fmt.Sprint(i)), "", "", "v") // which moves the root to free pages
	}
	used := localroom.UsedSize(s)
	s.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, path)
		if err := os.Truncate(path, used-4096); err != nil {
			t.Fatal(err)
		}
		if err := s.Set(at("ann", "", fmt.Sprint(i)), "", "", value("v")); !errors.Is(err, localroom.ErrDamaged) {
			t.Errorf("set: %v", err)
		}
		s.Close()
	}
}

// The same when nobody looked at the size in between, so that a write faults. A read
// may not notice before that.
func TestFaultInTransaction(t *testing.T) {
	get := func(s *localroom.Store) error { _, _, err := s.Get(at("ann", "", "1"), "", ""); return err }
	set := func(s *localroom.Store) error { return s.Set(at("ann", "", "1"), "", "", value("v")) }
	for _, size := range []int64{0, 4096, 8192, 20000} {
		for name, calls := range map[string][]func(*localroom.Store) error{"get": {get, set, get}, "set": {set, get, set}} {
			s, path := newStore(t)
			for i := range 50 {
				mustSet(t, s, at("ann", "", fmt.Sprint(i)), "", "", strings.Repeat("v", 2000))
			}
			file, err := os.ReadFile(path)
			whole := filepath.Join(t.TempDir(), "whole")
			if err = errors.Join(err, os.WriteFile(whole, file, 0o600)); err != nil {
				t.Fatal(err)
			}
			unlock, err := localroom.ReadElsewhere(s, whole)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, size); err != nil {
				t.Fatal(err)
			}
			for i, call := range calls {
				if err := call(s); !errors.Is(err, localroom.ErrDamaged) && (err != nil || name == "set" || i > 0) {
					t.Errorf("cut to %d, %s first, call %d: %v", size, name, i, err)
				}
			}
			if err := errors.Join(s.Close(), unlock()); err != nil {
				t.Error(err)
			}
			if _, err := localroom.OpenStore(path, key(1)); !errors.Is(err, localroom.ErrDamaged) {
				t.Errorf("opened again: %v", err)
			}
		}
	}
}

func FuzzPages(f *testing.F) {
	s, path := newStore(f)
	for i := range 40 {
		mustSet(f, s, at("ann", "", fmt.Sprint(i)), "", "", strings.Repeat("v", 100))
	}
	s.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add(file[:4*4096])
	f.Fuzz(func(t *testing.T, file []byte) { _ = localroom.CheckPages(file) })
}

// FuzzStoreFile changes a store at a place, as much as it likes.
func FuzzStoreFile(f *testing.F) {
	sample := sampleStore(f)
	file := sample.file
	f.Add(uint(len(file)), []byte{})
	f.Add(uint(16), []byte{0xff})
	f.Add(uint(3*4096), make([]byte, 4096))
	f.Fuzz(func(t *testing.T, at uint, change []byte) {
		damaged := bytes.Clone(file)
		copy(damaged[min(at, uint(len(file))):], change)
		checkDamaged(t, t.TempDir(), damaged, sample, fmt.Sprintf("%x at %d", change, at))
	})
}

func FuzzInfo(f *testing.F) {
	f.Add([]byte(`{"room":"demo","owner":"ann","id":"a","type":"text/plain","name":"n","updated":7}`))
	f.Add([]byte(`{"id":"a","updated":-1}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, plain []byte) {
		info, err := localroom.DecodeInfo(plain)
		if err == nil && (info.ID == "" || info.Updated == 0) {
			t.Errorf("%+v was taken", info)
		}
	})
}

// FuzzRecord reads anything as a sealed record: only what was sealed opens.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(make([]byte, 24))
	f.Add(make([]byte, 100))
	s, _ := newStore(f)
	f.Fuzz(func(t *testing.T, box []byte) {
		if err := localroom.OpenRecord(s, box); !errors.Is(err, localroom.ErrDamaged) {
			t.Errorf("%x: %v", box, err)
		}
	})
}
