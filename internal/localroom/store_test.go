package localroom_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/secret"
)

func key(fill byte) secret.Value { return secret.New(bytes.Repeat([]byte{fill}, localroom.KeySize)) }

func value(s string) secret.Value { return secret.New([]byte(s)) }

func openStore(t testing.TB, path string) *localroom.Store {
	t.Helper()
	s, err := localroom.OpenStore(path, key(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newStore(t testing.TB) (*localroom.Store, string) {
	path := filepath.Join(t.TempDir(), "room.db")
	return openStore(t, path), path
}

func at(owner, delegatedTo, id string) localroom.RecordKey {
	return localroom.RecordKey{Room: "demo", Owner: owner, DelegatedTo: delegatedTo, ID: id}
}

func mustSet(t testing.TB, s *localroom.Store, a localroom.RecordKey, typ, name, v string) {
	t.Helper()
	if err := s.Set(a, typ, name, value(v)); err != nil {
		t.Fatal(err)
	}
}

// wantSecret checks type, name and value, or with typ "" that there is none.
func wantSecret(t testing.TB, s *localroom.Store, a localroom.RecordKey, askType, askName, typ, name, v string) {
	t.Helper()
	info, got, err := s.Get(a, askType, askName)
	if typ == "" {
		if !errors.Is(err, localroom.ErrNotFound) {
			t.Errorf("get %v %q %q: error %v, not ErrNotFound", a, askType, askName, err)
		}
		return
	}
	if err != nil || info.Type != typ || info.Name != name || string(got.Reveal()) != v {
		t.Errorf("get %v %q %q: %q %q %q, error %v; want %q %q %q", a, askType, askName, info.Type, info.Name, got.Reveal(), err, typ, name, v)
	}
}

func TestSetAndGet(t *testing.T) {
	s, _ := newStore(t)
	const octets = localroom.DefaultType

	mustSet(t, s, at("ann", "", "db"), "", "", "1")
	wantSecret(t, s, at("ann", "", "db"), "", "", octets, "db", "1")
	mustSet(t, s, at("ann", "", "db"), "text/plain", "", "2")
	wantSecret(t, s, at("ann", "", "db"), "", "", "text/plain", "db", "2")
	mustSet(t, s, at("ann", "", "db"), "", "database", "3")
	wantSecret(t, s, at("ann", "", "db"), "", "", "text/plain", "database", "3")
	mustSet(t, s, at("ann", "", "db"), "", "", "4")
	wantSecret(t, s, at("ann", "", "db"), "", "", "text/plain", "database", "4")

	wantSecret(t, s, at("ann", "", "db"), "text/plain", "database", "text/plain", "database", "4")
	wantSecret(t, s, at("ann", "", "db"), "text/html", "", "", "", "")
	wantSecret(t, s, at("ann", "", "db"), "", "db", "", "", "")

	// Each part of the address counts.
	wantSecret(t, s, at("bob", "", "db"), "", "", "", "", "")
	wantSecret(t, s, at("ann", "bob", "db"), "", "", "", "", "")
	wantSecret(t, s, localroom.RecordKey{Room: "other", Owner: "ann", ID: "db"}, "", "", "", "", "")
	mustSet(t, s, at("ann", "bob", "db"), "", "", "delegated")
	wantSecret(t, s, at("ann", "bob", "db"), "", "", octets, "db", "delegated")
	wantSecret(t, s, at("ann", "", "db"), "", "", "text/plain", "database", "4")

	mustSet(t, s, at("ann", "a", "bc"), "", "", "a to bc")
	mustSet(t, s, at("ann", "ab", "c"), "", "", "ab to c")
	wantSecret(t, s, at("ann", "a", "bc"), "", "", octets, "bc", "a to bc")

	// With no id: the latest that fits, in the same delegation.
	mustSet(t, s, at("ann", "", "a"), "text/x", "twin", "a")
	mustSet(t, s, at("ann", "", "b"), "text/x", "twin", "b")
	wantSecret(t, s, at("ann", "", ""), "", "twin", "text/x", "twin", "b")
	wantSecret(t, s, at("ann", "", ""), "text/x", "", "text/x", "twin", "b")
	mustSet(t, s, at("ann", "", "a"), "", "", "a2")
	wantSecret(t, s, at("ann", "", ""), "text/x", "twin", "text/x", "twin", "a2")
	wantSecret(t, s, at("ann", "bob", ""), "", "twin", "", "", "")
	mustSet(t, s, at("ann", "", ""), "text/x", "twin", "a3")
	wantSecret(t, s, at("ann", "", "a"), "", "", "text/x", "twin", "a3")
	mustSet(t, s, at("ann", "", ""), "text/x", "new", "n")
	wantSecret(t, s, at("ann", "", ""), "", "new", "text/x", "new", "n")
	mustSet(t, s, at("ann", "", ""), "text/unnamed", "", "u")
	info, _, err := s.Get(at("ann", "", ""), "text/unnamed", "")
	if err != nil || len(info.ID) != 36 || info.Name != info.ID {
		t.Errorf("a secret without id and name became %+v, error %v", info, err)
	}
}

func TestValuesKeepTheirBytes(t *testing.T) {
	s, path := newStore(t)
	for _, v := range []string{"", "\x00", "\xff\xfe\x00not UTF-8", strings.Repeat("x", 4095), strings.Repeat("y", 4<<20), "\r\n"} {
		mustSet(t, s, at("ann", "", "v"), "", "", v)
		wantSecret(t, s, at("ann", "", "v"), "", "", localroom.DefaultType, "v", v)
		s.Close()
		s = openStore(t, path)
		wantSecret(t, s, at("ann", "", "v"), "", "", localroom.DefaultType, "v", v)
	}
}

func TestListExistsDelete(t *testing.T) {
	s, _ := newStore(t)
	mustSet(t, s, at("ann", "", "3"), "", "b", "")
	mustSet(t, s, at("ann", "", "2"), "", "b", "")
	mustSet(t, s, at("ann", "bob", "2"), "", "b", "")
	mustSet(t, s, at("ann", "", "1"), "", "c", "")
	mustSet(t, s, at("ann", "", "9"), "", "a", "")
	mustSet(t, s, at("bob", "", "x"), "", "", "")
	list, err := s.List("demo", "ann")
	var got []string
	for _, i := range list {
		got = append(got, i.Name+i.ID+i.DelegatedTo)
	}
	if want := []string{"a9", "b2", "b2bob", "b3", "c1"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("the list is %q, error %v; want %q", got, err, want)
	}

	for _, a := range []localroom.RecordKey{at("ann", "", "2"), at("ann", "bob", "2")} {
		if ok, err := s.Exists(a); !ok || err != nil {
			t.Errorf("%v does not exist, error %v", a, err)
		}
	}
	if ok, err := s.Exists(at("bob", "", "2")); ok || err != nil {
		t.Errorf("what is ann's exists for bob, error %v", err)
	}
	if err := s.Delete(at("bob", "", "2")); !errors.Is(err, localroom.ErrNotFound) {
		t.Errorf("bob deletes what is ann's: %v", err)
	}
	if err := s.Delete(at("ann", "", "2")); err != nil {
		t.Error(err)
	}
	if err := s.Delete(at("ann", "", "2")); !errors.Is(err, localroom.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if ok, _ := s.Exists(at("ann", "bob", "2")); !ok {
		t.Error("deleting one took the delegated one of the same id")
	}
}

func TestDelegated(t *testing.T) {
	s, _ := newStore(t)
	mustSet(t, s, at("ann", "bot", "k"), "", "", "")
	mustSet(t, s, at("ann", "bot", "other"), "", "", "")
	mustSet(t, s, at("bob", "tob", "k"), "", "", "")
	mustSet(t, s, localroom.RecordKey{Room: "elsewhere", Owner: "bob", DelegatedTo: "bot", ID: "k"}, "", "", "")
	got, err := s.Delegated("demo", "bot", "k")
	if want := []localroom.RecordKey{at("ann", "bot", "k")}; err != nil || !slices.Equal(got, want) {
		t.Errorf("delegated: %v, error %v; want %v", got, err, want)
	}
	mustSet(t, s, at("bob", "bot", "k"), "", "", "")
	if got, err := s.Delegated("demo", "bot", "k"); len(got) != 2 || err != nil {
		t.Errorf("delegated by two: %v, error %v", got, err)
	}
}

func TestInvalidAddresses(t *testing.T) {
	s, path := newStore(t)
	for name, err := range map[string]error{
		"set with nothing": s.Set(at("ann", "", ""), "", "", value("v")),
		"get with nothing": func() error { _, _, err := s.Get(at("ann", "", ""), "", ""); return err }(),
		"delete no id":     s.Delete(at("ann", "", "")),
		"exists no id":     func() error { _, err := s.Exists(at("ann", "", "")); return err }(),
		"not UTF-8":        s.Set(at("ann", "", "\xff"), "", "", value("v")),
		"long id":          s.Set(at("ann", "", strings.Repeat("i", 1025)), "", "", value("v")),
		"long name":        s.Set(at("ann", "", "i"), "", strings.Repeat("i", 1025), value("v")),
	} {
		if !errors.Is(err, localroom.ErrInvalid) {
			t.Errorf("%s: %v, not ErrInvalid", name, err)
		}
	}
	s.Close()
	openStore(t, path)
}

func TestNothingIsInTheClear(t *testing.T) {
	s, path := newStore(t)
	plain := []string{"canary-room", "canary-owner", "canary-delegatee", "canary-id", "canary/type", "canary-name", "canary-value"}
	err := s.Set(localroom.RecordKey{Room: plain[0], Owner: plain[1], DelegatedTo: plain[2], ID: plain[3]}, plain[4], plain[5], value(plain[6]))
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(file, []byte("canary")) || bytes.Contains(file, key(1).Reveal()) {
		t.Error("the file tells names, values or its key")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v, error %v", info.Mode(), err)
	}
}

func TestConcurrentChangesAllHappen(t *testing.T) {
	s, path := newStore(t)
	const writers, each = 20, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprint(w, "-", i)
				mustSet(t, s, at("ann", "", id), "", "", id)
				wantSecret(t, s, at("ann", "", id), "", "", localroom.DefaultType, id, id)
				if i%2 == 1 {
					if err := s.Delete(at("ann", "", id)); err != nil {
						t.Error(err)
					}
				}
				// A change that fails takes no other one with it.
				if err := s.Delete(at("ann", "", "none")); !errors.Is(err, localroom.ErrNotFound) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s.Close()
	s = openStore(t, path)
	if list, err := s.List("demo", "ann"); len(list) != writers*each/2 || err != nil {
		t.Errorf("%d secrets are there, error %v", len(list), err)
	}
}

// Changes that wait share a commit, but for what would take too much memory.
func TestCommitIsBounded(t *testing.T) {
	s, _ := newStore(t)
	for size, want := range map[int]int{10: 1, 7 << 20: 2} {
		before, release := localroom.Commits(s), localroom.HoldCommits(s)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { mustSet(t, s, at("ann", "", fmt.Sprint(i)), "", "", strings.Repeat("v", size)) })
		}
		localroom.AwaitQueued(s, 4)
		release()
		wg.Wait()
		if got := localroom.Commits(s) - before; got != want {
			t.Errorf("%d commits of 4 values of %d bytes, want %d", got, size, want)
		}
	}
}

func TestClosedStore(t *testing.T) {
	s, _ := newStore(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if err := s.Set(at("a", "", "b"), "", "", value("")); !errors.Is(err, localroom.ErrClosed) {
		t.Errorf("set: %v", err)
	}
	if _, err := s.List("demo", "a"); !errors.Is(err, localroom.ErrClosed) {
		t.Errorf("list: %v", err)
	}
}

func TestManyCreateOneStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "room.db")
	var wg sync.WaitGroup
	opened := make(chan *localroom.Store, 8)
	for range cap(opened) {
		wg.Go(func() {
			s, err := localroom.OpenStore(path, key(1))
			if err == nil {
				opened <- s
			} else if !errors.Is(err, localroom.ErrLocked) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(opened) != 1 {
		t.Errorf("%d opened it at once", len(opened))
	}
	(<-opened).Close()
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 2 { // the store and its state
		t.Errorf("left behind: %v, error %v", files, err)
	}
}
