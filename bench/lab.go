package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// A lab is a folder with a local room in it, and the program under test.
type lab struct {
	binary, dir string
	memory      string // a folder on a tmpfs
	runs        int
}

// environ makes the lab's room the local one, as what the server calls us too. No
// other process finds ours to ask for their status.
func (l lab) environ() []string {
	return append(os.Environ(), "ROOMENV_DATA="+filepath.Join(l.dir, "room"), "ROOMENV_IDENTITY=bench", "XDG_RUNTIME_DIR="+l.memory)
}

func (l lab) roomenv(args ...string) *exec.Cmd {
	cmd := exec.Command(l.binary, args...)
	cmd.Env = l.environ()
	cmd.Stderr = os.Stderr
	return cmd
}

// serve starts a server of the lab's room and returns where it listens and
// what stops it.
func (l lab) serve() (address string, stop func() error, err error) {
	cmd := l.roomenv("room", "serve", "--listen", "127.0.0.1:0")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() error { return errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()) }
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return "", nil, errors.Join(err, stop())
	}
	return strings.TrimPrefix(strings.TrimSpace(line), "listening http://"), stop, nil
}

func (l lab) token() (string, error) {
	out, err := l.roomenv("room", "token", "--room", "default", "--identity", "bench").Output()
	return string(bytes.TrimSpace(out)), err
}

func (l lab) join(ctx context.Context, address string) (*room.Client, error) {
	token, err := l.token()
	if err != nil {
		return nil, err
	}
	return room.Dial(ctx, room.Config{
		URL:   "http://" + address + "/rooms/default",
		Token: func(context.Context) (secret.Value, error) { return secret.New([]byte(token)), nil },
	})
}

// fill stores n secrets of 32 bytes, k0 to k(n-1).
func (l lab) fill(ctx context.Context, address string, n int) error {
	const connections = 64 // which share commits
	value := secret.New(bytes.Repeat([]byte("v"), 32))
	var sets errgroup.Group
	for c := range min(n, connections) {
		client, err := l.join(ctx, address)
		if err != nil {
			return errors.Join(err, sets.Wait())
		}
		defer client.Close()
		sets.Go(func() error {
			for i := c; i < n; i += connections {
				if err := client.Secrets().Set(ctx, room.NewSecret{ID: fmt.Sprintf("k%d", i), Value: value}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return sets.Wait()
}

// manifest writes a manifest that names the first n secrets.
func (l lab) manifest(n int) (string, error) {
	var text bytes.Buffer
	for i := range n {
		fmt.Fprintf(&text, "KEY_%d=room:secret/k%d\n", i, i)
	}
	path := filepath.Join(l.dir, fmt.Sprintf("%d.env", n))
	return path, os.WriteFile(path, text.Bytes(), 0o600)
}

// interleave runs the commands in turn, so that a noisy moment meets all of
// them, and returns the median time of each.
func (l lab) interleave(commands ...func() *exec.Cmd) ([]time.Duration, error) {
	took := make([][]time.Duration, len(commands))
	for range l.runs {
		for i, command := range commands {
			cmd := command()
			start := time.Now()
			if err := cmd.Run(); err != nil {
				return nil, fmt.Errorf("%s: %w", cmd, err)
			}
			took[i] = append(took[i], time.Since(start))
		}
	}
	medians := make([]time.Duration, len(commands))
	for i, d := range took {
		slices.Sort(d)
		medians[i] = d[len(d)/2]
	}
	return medians, nil
}
