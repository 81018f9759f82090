// Command bench prints what roomenv costs, as ratios of figures that were
// measured side by side in this run: machines differ, and are noisy.
//
//	go run ./bench
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// counts are the numbers of secrets that are measured.
var counts = []int{1, 10, 100, 1000}

func main() {
	runs := flag.Int("runs", 15, "runs of each command, of which the median counts")
	still := flag.Duration("idle", time.Minute, "how long an exec is watched that does nothing")
	flag.Parse()
	if err := bench(context.Background(), *runs, *still); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, runs int, still time.Duration) error {
	tmp, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	binary := filepath.Join(tmp, "roomenv")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./cmd/roomenv")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("cannot build roomenv: %w", err)
	}
	for _, part := range []func(context.Context, lab) error{wrappers, startup, roundTrips, throughput, memory, rotation, idle(still)} {
		dir, err := os.MkdirTemp(tmp, "lab")
		if err != nil {
			return err
		}
		if err := part(ctx, lab{binary, dir, runs}); err != nil {
			return err
		}
	}
	return nil
}
