package localroom_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/secret"
)

// roomOf opens a room with a store that has this content and the key 1.
func roomOf(t *testing.T, file []byte) (r *localroom.Room, path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "room.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return openRoomWith(t, dir, localroom.Options{Key: key(1)}), path
}

func openRoomWith(t *testing.T, dir string, o localroom.Options) *localroom.Room {
	t.Helper()
	r, err := localroom.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// One record of an older copy of the file, which is genuine, is found.
func TestRecordOfAnOlderCopy(t *testing.T) {
	s, path := newStore(t)
	mustSet(t, s, at("ann", "", "pw"), "", "", "leaked")
	mustSet(t, s, at("ann", "", "other"), "", "", "v")
	s.Close()
	older := filepath.Join(t.TempDir(), "older.db")
	file, err := os.ReadFile(path)
	if err = errors.Join(err, os.WriteFile(older, file, 0o600)); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	mustSet(t, s, at("ann", "", "pw"), "", "", "rotated")
	s.Close()
	boxes := map[string]map[string][]byte{"info": {}, "values": {}}
	updateFile(t, older, func(tx *bolt.Tx) error {
		for bucket, b := range boxes {
			err := tx.Bucket([]byte(bucket)).ForEach(func(k, v []byte) error {
				b[string(k)] = bytes.Clone(v)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	updateFile(t, path, func(tx *bolt.Tx) error {
		for bucket, b := range boxes {
			for k, v := range b {
				if err := tx.Bucket([]byte(bucket)).Put([]byte(k), v); err != nil {
					return err
				}
			}
		}
		return nil
	})
	r := openRoomWith(t, filepath.Dir(path), localroom.Options{Key: key(1)})
	report, err := r.Check(t.Context())
	if err != nil || !errors.Is(report.Altered, localroom.ErrAltered) || report.Secrets != 2 || report.Damaged != 0 {
		t.Errorf("the report is %+v, error %v", report, err)
	}
	if _, err := r.Backup(t.Context(), filepath.Join(t.TempDir(), "backup.db"), false); !errors.Is(err, localroom.ErrAltered) {
		t.Errorf("backup: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	// To accept it takes a decision.
	for _, want := range []error{localroom.ErrAltered, nil} {
		s := openStore(t, path)
		if err := localroom.Doubt(s); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
		s.Close()
		if want != nil {
			if found, err := r.Recover(); err != nil || found.Secrets != 2 {
				t.Errorf("recovered %+v, error %v", found, err)
			}
		}
	}
}

// Whatever page is damaged: what is saved is right, and what is not is counted.
func TestRecover(t *testing.T) {
	sample := sampleStore(t)
	random := rand.New(rand.NewPCG(5, 6))
	pages := len(sample.file) / 4096
	saved, lost := 0, 0
	for i := range *damages {
		damaged := bytes.Clone(sample.file)
		page := i % pages
		noise := damaged[page*4096+random.IntN(4096-64):][:1+random.IntN(64)]
		if i/pages%2 == 1 {
			noise = damaged[page*4096:][:4096]
		}
		for j := range noise {
			noise[j] = byte(random.Uint32())
		}
		r, path := roomOf(t, damaged)
		found, err := r.Recover()
		if errors.Is(err, localroom.ErrDamaged) {
			continue // nothing is left
		}
		if err != nil {
			t.Fatalf("page %d: %v", page, err)
		}
		if kept, err := os.ReadFile(found.Kept); err != nil || !bytes.Equal(kept, damaged) {
			t.Errorf("page %d: the damaged file is not kept: %v", page, err)
		}
		s := openStore(t, path)
		if err := localroom.Doubt(s); err != nil {
			t.Errorf("page %d: %v", page, err)
		}
		n := 0
		for a, want := range sample.content {
			_, v, err := s.Get(a, "", "")
			if errors.Is(err, localroom.ErrNotFound) {
				continue
			}
			n++
			if err != nil || string(v.Reveal()) != want && !found.Uncertain {
				t.Errorf("page %d: a wrong value, error %v", page, err)
			}
		}
		if !found.Uncertain && (n != found.Secrets || n+found.Lost != len(sample.content)) {
			t.Errorf("page %d: %d of %d secrets are there, found %+v", page, n, len(sample.content), found)
		}
		saved, lost = saved+n, lost+found.Lost
		s.Close()
	}
	t.Logf("%d secrets were saved, %d lost", saved, lost)
	if saved == 0 || lost == 0 {
		t.Error("the damage is not of both kinds")
	}
}

// A rotation that fails at any step leaves a room that works, with one of the keys.
func TestRotateKeyIsInterrupted(t *testing.T) {
	for step := 0; ; step++ {
		dir := t.TempDir()
		r := openRoomWith(t, dir, localroom.Options{})
		p := mustEnter(t, r, "ann")
		if err := setSecret(t.Context(), p, "a", "v"); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		synced := 0
		restore := localroom.ObserveSyncs(func(string) error {
			if synced++; synced > step {
				return errors.New("interrupted")
			}
			return nil
		})
		rotated := r.RotateKey(secret.Value{})
		restore()
		r = openRoomWith(t, dir, localroom.Options{})
		if got := outcome(mustEnter(t, r, "ann").invoke(t.Context(), "secrets", "get_secret", getArguments("a"))); got != "v" {
			t.Errorf("interrupted at step %d (%v), the secret is %q", step, rotated, got)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if rotated == nil {
			if step < 4 {
				t.Errorf("a rotation has %d steps", step)
			}
			if _, err := os.Stat(filepath.Join(dir, "room.key.next")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the next key: %v", err)
			}
			return
		}
	}
}

func TestRotateKeyChangesEverything(t *testing.T) {
	dir := t.TempDir()
	r := openRoomWith(t, dir, localroom.Options{})
	if err := setSecret(t.Context(), mustEnter(t, r, "ann"), "a", "v"); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "room.key"))
	if err != nil {
		t.Fatal(err)
	}
	old, err := localroom.ParseKey(secret.New(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.RotateKey(key(7)); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(filepath.Join(dir, "room.key"))
	if err != nil || strings.TrimSpace(string(text)) != base64.StdEncoding.EncodeToString(key(7).Reveal()) {
		t.Errorf("the key file was not written, error %v", err)
	}
	if _, err := localroom.OpenStore(filepath.Join(dir, "room.db"), old); !errors.Is(err, localroom.ErrWrongKey) {
		t.Errorf("the previous key: %v", err)
	}
	s, err := localroom.OpenStore(filepath.Join(dir, "room.db"), key(7))
	if err != nil {
		t.Fatal(err)
	}
	wantSecret(t, s, at("ann", "", "a"), "", "", localroom.DefaultType, "a", "v")
	s.Close()
}

// Each backup of a room that is written to is in order.
func TestBackupOfABusyRoom(t *testing.T) {
	dir := t.TempDir()
	r := openRoomWith(t, dir, localroom.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writers sync.WaitGroup
	defer writers.Wait()
	written := make(chan struct{}, 100)
	for w := range 3 {
		p := mustEnter(t, r, "ann")
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if setSecret(ctx, p, fmt.Sprint(w, "-", i%50), strings.Repeat("v", i*37%5000)) != nil {
					return
				}
				select {
				case written <- struct{}{}:
				default:
				}
			}
		})
	}
	other := openRoomWith(t, dir, localroom.Options{}) // as another process
	for i := range 10 {
		for range 5 {
			next(t, written)
		}
		path := filepath.Join(t.TempDir(), "backup.db")
		report, err := other.Backup(ctx, path, false)
		if err != nil || report.Secrets == 0 {
			t.Errorf("backup %d: %+v, %v", i, report, err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	cancel()
}

func TestCompactKeepsEverything(t *testing.T) {
	sample := sampleStore(t)
	r, path := roomOf(t, sample.file)
	before, after, err := r.Compact()
	if err != nil || after >= before {
		t.Errorf("compacted from %d to %d bytes, error %v", before, after, err)
	}
	s := openStore(t, path)
	got := map[localroom.RecordKey]string{}
	for a := range sample.content {
		_, v, err := s.Get(a, "", "")
		if err != nil {
			t.Fatal(err)
		}
		got[a] = string(v.Reveal())
	}
	if !maps.Equal(got, sample.content) || localroom.Doubt(s) != nil {
		t.Errorf("the content changed, %v", localroom.Doubt(s))
	}
}

// A store is read in full if a program wrote to it since it was closed, and only then.
func TestUnchangedStoreIsNotRead(t *testing.T) {
	s, path := newStore(t)
	if mustSet(t, s, at("ann", "", "a"), "", "", "v"); localroom.Unchanged(s) {
		t.Error("an open store is taken for closed")
	}
	s.Close()
	s = openStore(t, path)
	if !localroom.Unchanged(s) {
		t.Error("a store that was closed is read again")
	}
	s.Close()
	file, err := os.ReadFile(path)
	if err = errors.Join(err, os.WriteFile(path, file, 0o600)); err != nil {
		t.Fatal(err)
	}
	if s = openStore(t, path); localroom.Unchanged(s) {
		t.Error("a store that was written to is not read")
	}
	s.Close()
	if s = openStore(t, path); !localroom.Unchanged(s) {
		t.Error("a store that was read is read again")
	}
	s.Close()
}

// Directories that are made are on disk before the room is used.
func TestNewDirectoriesAreSynced(t *testing.T) {
	dir := t.TempDir()
	var synced []string
	defer localroom.ObserveSyncs(func(path string) error {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			synced = append(synced, strings.TrimPrefix(path, dir))
		}
		return nil
	})()
	openRoomWith(t, filepath.Join(dir, "a", "b", "c"), localroom.Options{})
	if want := []string{"", "/a", "/a/b", "/a/b/c"}; !slices.Equal(synced, want) {
		t.Errorf("synced %q, want %q", synced, want)
	}
}
