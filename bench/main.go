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
	"slices"
	"strings"
	"time"
)

// counts are the numbers of secrets that are measured.
var counts = []int{1, 10, 100, 1000}

func main() {
	runs := flag.Int("runs", 15, "runs of each command, of which the median counts")
	still := flag.Duration("idle", time.Minute, "how long an exec is watched that does nothing")
	only := flag.String("only", "", "the one part to run: "+strings.Join(names(parts(0, "")), ", "))
	with := flag.String("with", "", "another roomenv `binary` that the part compare measures this build against")
	flag.Parse()
	if err := bench(context.Background(), *runs, parts(*still, *with), *only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A part is a table of figures.
type part struct {
	name string
	run  func(context.Context, lab) error
}

func parts(still time.Duration, other string) []part {
	return []part{
		{"wrappers", wrappers},
		{"startup", startup},
		{"store", store},
		{"roundtrips", roundTrips},
		{"throughput", throughput},
		{"memory", memory},
		{"rotation", rotation},
		{"idle", idle(still)},
		{"compare", compare(other)},
	}
}

func names(parts []part) (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

func bench(ctx context.Context, runs int, all []part, only string) error {
	if only != "" {
		all = slices.DeleteFunc(all, func(p part) bool { return p.name != only })
	}
	if len(all) == 0 {
		return fmt.Errorf("there is no part %q", only)
	}
	tmp, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	memory, err := os.MkdirTemp("/dev/shm", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(memory)
	binary := filepath.Join(tmp, "roomenv")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", binary, "./cmd/roomenv")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as the image has it
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("cannot build roomenv: %w", err)
	}
	for _, p := range all {
		dir, err := os.MkdirTemp(tmp, "lab")
		if err != nil {
			return err
		}
		if err := p.run(ctx, lab{binary, dir, memory, runs}); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}
