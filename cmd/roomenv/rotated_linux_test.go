package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// A rotated is a local room whose secrets are set while real execs have them.
type rotated struct {
	t      *testing.T
	dir    string // has the manifest and the room
	memory string // on a tmpfs; the XDG_RUNTIME_DIR
	client *room.Client
}

func newRotated(t *testing.T, manifest string) *rotated {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "roomenv.yaml"), []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	memory, err := os.MkdirTemp("/dev/shm", "roomenv-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	held, err := localroom.Open(filepath.Join(dir, "room"), localroom.Options{})
	if err == nil {
		err = held.Acquire()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = held.Close() })
	client, err := room.Dial(t.Context(), room.Config{
		URL:         "http://local/rooms/default",
		DialContext: held.DialContext,
		Token: func(context.Context) (secret.Value, error) {
			return held.Token("default", "rotated", token.AgentScope())
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return &rotated{t, dir, memory, client}
}

// command is args[0] as the owner of the secrets. TestMain has roomenv in PATH.
func (r *rotated) command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "HOME="+r.dir, "XDG_RUNTIME_DIR="+r.memory,
		"ROOMENV_DATA="+filepath.Join(r.dir, "room"), "ROOMENV_IDENTITY=rotated")
	return cmd
}

func (r *rotated) set(ctx context.Context, id, value string) error {
	return r.client.Secrets().Set(ctx, room.NewSecret{ID: id, Value: secret.New([]byte(value))})
}

// rotate sets the secrets in turn, each time to another value, until stop is
// called. They are there when it returns.
func (r *rotated) rotate(ids ...string) (stop func()) {
	r.t.Helper()
	for _, id := range ids {
		if err := r.set(r.t.Context(), id, "first"); err != nil {
			r.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(r.t.Context())
	var rotating sync.WaitGroup
	rotating.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			err := r.set(ctx, ids[n%len(ids)], fmt.Sprintf("value %d", n))
			if err != nil && ctx.Err() == nil {
				r.t.Error(err)
				return
			}
		}
	})
	return func() {
		cancel()
		rotating.Wait()
	}
}

// output starts cmd and returns what it and its children write to stdout and
// stderr. That ends when none of them is left.
func (r *rotated) output(cmd *exec.Cmd) *output {
	r.t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = write, write
	err = errors.Join(cmd.Start(), write.Close())
	if err != nil {
		r.t.Fatal(err)
	}
	return &output{bufio.NewScanner(read), read}
}

type output struct {
	*bufio.Scanner
	file *os.File
}

// until reads lines until one ends with want. It waits for no more than waitLimit.
func (o *output) until(want string) error {
	_ = o.file.SetReadDeadline(time.Now().Add(waitLimit))
	last := ""
	for o.Scan() {
		if last = o.Text(); strings.HasSuffix(last, want) {
			return nil
		}
	}
	return fmt.Errorf("no line is %q, the last one is %q: %w", want, last, o.Err())
}
