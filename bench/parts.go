package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// startup compares `roomenv exec -- true` with true: while another process
// serves the room, and while nobody does, so that exec opens the store too.
func startup(ctx context.Context, l lab) error {
	address, stop, err := l.serve()
	if err != nil {
		return err
	}
	if err := l.fill(ctx, address, counts[len(counts)-1]); err != nil {
		return errors.Join(err, stop())
	}
	if err := l.startup("served by another process"); err != nil {
		return errors.Join(err, stop())
	}
	if err := stop(); err != nil {
		return err
	}
	return l.startup("that nobody serves")
}

func (l lab) startup(room string) error {
	commands := []func() *exec.Cmd{func() *exec.Cmd { return exec.Command("true") }}
	for _, n := range counts {
		manifest, err := l.manifest(n)
		if err != nil {
			return err
		}
		commands = append(commands, func() *exec.Cmd { return l.roomenv("exec", "-m", manifest, "--", "true") })
	}
	medians, err := l.interleave(commands...)
	if err != nil {
		return err
	}
	fmt.Printf("\nexec -- true with a local room %s, and true alone (median of %d)\n", room, l.runs)
	fmt.Printf("  %-14s %7.1f ms\n", "true alone", milliseconds(medians[0]))
	for i, n := range counts {
		fmt.Printf("  %4d secrets   %7.1f ms  %5.1fx\n", n, milliseconds(medians[i+1]), float64(medians[i+1])/float64(medians[0]))
	}
	return nil
}

// store compares `roomenv exec --once -- true` with one secret of a local room that no
// other process serves, by the number of secrets that the room has.
func store(ctx context.Context, l lab) error {
	manifest, err := l.manifest(1)
	if err != nil {
		return err
	}
	fmt.Printf("\nexec --once -- true with one secret of a local room that nobody serves (median of %d)\n", l.runs)
	var first time.Duration
	for _, n := range []int{1000, 10_000, 100_000} {
		address, stop, err := l.serve()
		if err != nil {
			return err
		}
		if err := errors.Join(l.fill(ctx, address, n), stop()); err != nil {
			return err
		}
		file := filepath.Join(l.dir, "room", "room.db")
		medians, err := l.interleave(
			func() *exec.Cmd { return l.roomenv("exec", "-m", manifest, "--once", "--", "true") },
			func() *exec.Cmd {
				now := time.Now()
				_ = os.Chtimes(file, now, now) // as if a program had written to it
				return l.roomenv("exec", "-m", manifest, "--once", "--", "true")
			},
		)
		if err != nil {
			return err
		}
		if first == 0 {
			first = medians[0]
		}
		fmt.Printf("  %6d secrets   %7.1f ms  %5.1fx, after a crash %7.1f ms  %5.1fx\n", n,
			milliseconds(medians[0]), float64(medians[0])/float64(first), milliseconds(medians[1]), float64(medians[1])/float64(first))
	}
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// roundTrips counts those of a whole exec over a link that adds 50 ms to each:
// what the command takes longer than without the link, in round trips.
func roundTrips(ctx context.Context, l lab) error {
	const roundTrip = 50 * time.Millisecond
	address, stop, err := l.serve()
	if err != nil {
		return err
	}
	defer stop()
	if err := l.fill(ctx, address, counts[len(counts)-1]); err != nil {
		return err
	}
	link, err := newSlowLink(address, roundTrip)
	if err != nil {
		return err
	}
	defer link.Close()
	token, err := l.token()
	if err != nil {
		return err
	}
	fmt.Printf("\nexec -- true over a link that adds %s of round trip, and without it (median of %d)\n", roundTrip, l.runs)
	for _, n := range counts {
		manifest, err := l.manifest(n)
		if err != nil {
			return err
		}
		at := func(address string) func() *exec.Cmd {
			return func() *exec.Cmd {
				cmd := l.roomenv("exec", "-m", manifest, "--", "true")
				cmd.Env = append(cmd.Env, "MESHAGENT_ROOM=default", "MESHAGENT_TOKEN="+token, "MESHAGENT_ROOM_URL=http://"+address)
				return cmd
			}
		}
		medians, err := l.interleave(at(address), at(link.Addr()))
		if err != nil {
			return err
		}
		fmt.Printf("  %4d secrets   %7.1f ms, without %5.1f ms: %.2f round trips\n", n,
			milliseconds(medians[1]), milliseconds(medians[0]), float64(medians[1]-medians[0])/float64(roundTrip))
	}
	return nil
}

// throughput is requests of 1 KiB answered per second by the local room.
func throughput(ctx context.Context, l lab) error {
	address, stop, err := l.serve()
	if err != nil {
		return err
	}
	defer stop()
	var clients []*room.Client
	for range 100 {
		client, err := l.join(ctx, address)
		if err != nil {
			return err
		}
		defer client.Close()
		clients = append(clients, client)
	}
	value := secret.New(make([]byte, 1<<10))
	set := func(s *room.Secrets, i int) error {
		return s.Set(ctx, room.NewSecret{ID: fmt.Sprintf("k%d", i%1000), Value: value})
	}
	get := func(s *room.Secrets, i int) error {
		_, err := s.Get(ctx, room.SecretQuery{ID: fmt.Sprintf("k%d", i%1000)})
		return err
	}
	fmt.Printf("\nlocal room: requests of 1 KiB answered per second, over TCP on loopback\n")
	for _, row := range []struct {
		name                            string
		connections, inFlight, requests int
	}{
		{"1 connection, 1 request at a time", 1, 1, 2000},
		{"1 connection, 100 at a time", 1, 100, 10000},
		{"100 connections, 1 each at a time", 100, 1, 10000},
	} {
		var rates []float64
		for _, operation := range []func(*room.Secrets, int) error{set, get} {
			start := time.Now()
			if err := spread(clients[:row.connections], row.inFlight, row.requests, operation); err != nil {
				return err
			}
			rates = append(rates, float64(row.requests)/time.Since(start).Seconds())
		}
		fmt.Printf("  %-34s set %6.0f  get %6.0f  get/set %.1f\n", row.name, rates[0], rates[1], rates[1]/rates[0])
	}
	return nil
}

// spread has inFlight workers on each client do the requests.
func spread(clients []*room.Client, inFlight, requests int, operation func(*room.Secrets, int) error) error {
	var next atomic.Int64
	var workers sync.WaitGroup
	failed := make(chan error, len(clients)*inFlight)
	for _, c := range clients {
		for range inFlight {
			workers.Go(func() {
				for i := next.Add(1); i <= int64(requests); i = next.Add(1) {
					if err := operation(c.Secrets(), int(i)); err != nil {
						failed <- err
						return
					}
				}
			})
		}
	}
	workers.Wait()
	close(failed)
	return <-failed
}

// memory is that of roomenv while its child runs.
func memory(ctx context.Context, l lab) error {
	const secrets = 100
	address, stop, err := l.serve()
	if err != nil {
		return err
	}
	defer stop()
	if err := l.fill(ctx, address, secrets); err != nil {
		return err
	}
	size, err := l.idleSize(secrets)
	if err != nil {
		return err
	}
	fmt.Printf("\nresident memory of an idle exec with %d secrets: %.1f MiB\n", secrets, float64(size)/1024)
	return nil
}

// resident reads VmRSS of proc_pid_status(5), in KiB.
func resident(pid int) (int, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			return strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
		}
	}
	return 0, io.ErrUnexpectedEOF
}
