package localroom_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/internal/localroom"
)

// The test binary is also the other processes of an embedded room: with
// childVariable set to the room's folder it is a participant that stores
// secrets, until its stdin ends.
const childVariable = "ROOMENV_TEST_ROOM"

// patience is how long a test waits for what happens in moments.
const patience = 20 * time.Second

// next returns what comes next.
func next[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return v
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		if err := participate(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// participate stores one secret after the other in the room in dir and prints
// the id of each that the room acknowledged. It serves the room if nobody else
// does, and connects again when its connection is lost.
func participate(dir string) error {
	e, err := localroom.Open(dir, localroom.Options{})
	if err != nil {
		return err
	}
	defer e.Close()
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	var p *peer
	for i := 0; ctx.Err() == nil; i++ {
		id := fmt.Sprint(os.Getpid(), "-", i)
		for p == nil || setSecret(ctx, p, id, id) != nil {
			if ctx.Err() != nil {
				return nil
			}
			jwt, err := e.Token("demo", "ann", scoped())
			if err != nil {
				return err
			}
			if p, err = connect(ctx, e.DialContext, "ws://room/rooms/demo", jwt); err != nil && os.Getenv("ROOMENV_TEST_TRACE") != "" {
				fmt.Fprintln(os.Stderr, os.Getpid(), err)
			}
		}
		fmt.Println(id)
	}
	return nil
}

// updateFile changes the database of a store that is not open.
func updateFile(t *testing.T, path string, change func(tx *bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
}

// swapRecords exchanges the first two values of a bucket.
func swapRecords(t *testing.T, path, bucket string) {
	t.Helper()
	updateFile(t, path, func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		c := b.Cursor()
		k1, v1 := c.First()
		k2, v2 := c.Next()
		k1, v1, k2, v2 = append([]byte(nil), k1...), append([]byte(nil), v1...), append([]byte(nil), k2...), append([]byte(nil), v2...)
		if err := b.Put(k1, v2); err != nil {
			return err
		}
		return b.Put(k2, v1)
	})
}

// loseRecord removes the first record.
func loseRecord(t *testing.T, path string) {
	t.Helper()
	updateFile(t, path, func(tx *bolt.Tx) error {
		key, _ := tx.Bucket([]byte("info")).Cursor().First()
		key = bytes.Clone(key)
		return errors.Join(tx.Bucket([]byte("info")).Delete(key), tx.Bucket([]byte("values")).Delete(key))
	})
}
