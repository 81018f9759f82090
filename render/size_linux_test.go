package render_test

import (
	"errors"
	"fmt"
	"os/exec"
	"sort"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/secret"
)

// accepts runs the command with g as its environment.
func accepts(t *testing.T, argv []string, g *render.Result) bool {
	t.Helper()
	err := (&exec.Cmd{Path: argv[0], Args: argv, Env: g.Environ()}).Run()
	if err != nil && !errors.Is(err, unix.E2BIG) {
		t.Fatal(err)
	}
	return err == nil
}

// setStack sets the limit of the stack for the test.
func setStack(t *testing.T, size uint64) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_STACK, &unix.Rlimit{Cur: min(size, old.Max), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_STACK, &old); err != nil {
			t.Fatal(err)
		}
	})
}

func value(n int) secret.Value { return secret.New([]byte(strings.Repeat("x", n))) }

// The kernel is the judge: the largest environment that execve accepts, found by
// bisection, has to be the largest that CheckSize accepts.
func TestCheckSizeAgreesWithTheKernel(t *testing.T) {
	oneString := func(n int) *render.Result {
		return &render.Result{Env: []render.Variable{{Name: "BIG", Value: value(n)}}}
	}
	// Pieces of 64 KiB and a rest: only the total counts.
	manyStrings := func(n int) *render.Result {
		const size = 64 << 10
		g := new(render.Result)
		for i := range n / size {
			g.Env = append(g.Env, render.Variable{Name: fmt.Sprint("V", i), Value: value(size)})
		}
		g.Env = append(g.Env, render.Variable{Name: "REST", Value: value(n % size)})
		return g
	}
	// Empty values: mostly pointers.
	manyNames := func(n int) *render.Result {
		g := &render.Result{Env: make([]render.Variable, n)}
		for i := range g.Env {
			g.Env[i].Name = fmt.Sprintf("%06d", i)
		}
		return g
	}
	command, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		stack uint64
		argv  []string
		env   func(n int) *render.Result
		above int // more than any kernel takes
	}{
		{"one string", 8 << 20, []string{command}, oneString, 4 << 20},
		{"total, default stack", 8 << 20, []string{command}, manyStrings, 4 << 20},
		{"total, arguments", 8 << 20, []string{command, strings.Repeat("a", 100<<10), "", "b"}, manyStrings, 4 << 20},
		{"total, small stack", 1 << 20, []string{command}, manyStrings, 4 << 20},
		{"total, smallest", 256 << 10, []string{command}, manyStrings, 4 << 20},
		{"total, no limit", unix.RLIM_INFINITY, []string{command}, manyStrings, 16 << 20},
		{"pointers", 1 << 20, []string{command}, manyNames, 1 << 18},
	} {
		t.Run(test.name, func(t *testing.T) {
			setStack(t, test.stack)
			kernel := sort.Search(test.above, func(n int) bool { return !accepts(t, test.argv, test.env(n)) })
			if kernel == 0 || kernel == test.above {
				t.Fatalf("no limit was found below %d", test.above)
			}
			ours := sort.Search(test.above, func(n int) bool { return render.CheckSize(test.argv, test.env(n)) != nil })
			if kernel != ours {
				t.Errorf("the kernel refuses from %d, CheckSize from %d", kernel, ours)
			}
		})
	}
}
