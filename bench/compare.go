package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// compare measures this tree's build against another binary, each with a room of its
// own, in turns. An empty path compares nothing.
func compare(other string) func(context.Context, lab) error {
	return func(ctx context.Context, l lab) error {
		if other == "" {
			fmt.Println("\n-with names no other binary, so that no builds are compared")
			return nil
		}
		labs := []lab{l, l}
		labs[1].binary = other
		for i := range labs {
			labs[i].dir = filepath.Join(l.dir, fmt.Sprint(i))
			if err := os.Mkdir(labs[i].dir, 0o700); err != nil {
				return err
			}
			address, stop, err := labs[i].serve()
			if err != nil {
				return err
			}
			defer stop()
			if err := labs[i].fill(ctx, address, counts[len(counts)-1]); err != nil {
				return err
			}
		}
		fmt.Printf("\nthis build against %s (median of %d, in turns)\n", other, l.runs)
		for _, n := range append([]int{0}, counts...) {
			var commands []func() *exec.Cmd
			for _, each := range labs {
				manifest, err := each.manifest(n)
				if err != nil {
					return err
				}
				commands = append(commands, func() *exec.Cmd {
					if n == 0 {
						return each.roomenv("exec", "--", "true")
					}
					return each.roomenv("exec", "-m", manifest, "--", "true")
				})
			}
			medians, err := l.interleave(commands...)
			if err != nil {
				return err
			}
			fmt.Printf("  exec -- true, %4d secrets  %7.1f ms, other %7.1f ms: %.2fx\n", n,
				milliseconds(medians[0]), milliseconds(medians[1]), float64(medians[0])/float64(medians[1]))
		}
		sizes := make([][]int, len(labs))
		for range l.runs {
			for i, each := range labs {
				size, err := each.idleSize(100)
				if err != nil {
					return err
				}
				sizes[i] = append(sizes[i], size)
			}
		}
		for i := range sizes {
			slices.Sort(sizes[i])
		}
		mine, others := float64(sizes[0][l.runs/2])/1024, float64(sizes[1][l.runs/2])/1024
		fmt.Printf("  idle exec with 100 secrets   %7.1f MiB, other %6.1f MiB: %.2fx\n", mine, others, mine/others)
		return nil
	}
}

// idleSize is the resident memory, in KiB, of an exec with n secrets whose command
// waits.
func (l lab) idleSize(n int) (size int, err error) {
	manifest, err := l.manifest(n)
	if err != nil {
		return 0, err
	}
	cmd := l.roomenv("exec", "-m", manifest, "--", "sh", "-c", "echo ready; read _ || :")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	_, err = bufio.NewReader(stdout).ReadString('\n')
	size, sizeErr := resident(cmd.Process.Pid)
	return size, errors.Join(err, sizeErr, stdin.Close(), cmd.Wait())
}
