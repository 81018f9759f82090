package inject_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roomenv/roomenv/inject"
)

// run runs a command in this process and returns what it printed.
func run(t *testing.T, ctx context.Context, c inject.Command) (out string, code int, err error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Stdout = w
	code, err = exit(t, ctx, c)
	w.Close()
	b, readErr := io.ReadAll(limited{r})
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(b), code, err
}

func sh(script string) inject.Command {
	return inject.Command{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}}
}

func write(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExitCode(t *testing.T) {
	for script, want := range map[string]int{
		"exit 0": 0, "exit 7": 7, "exit 255": 255,
		"kill -KILL $$": 137, "kill -TERM $$": 143, "kill -SEGV $$": 139,
	} {
		_, code, err := run(t, t.Context(), sh(script))
		if code != want || err != nil {
			t.Errorf("%s: got %d, %v, want %d", script, code, err, want)
		}
	}
}

func TestDoesNotStart(t *testing.T) {
	dir := t.TempDir()
	plain := write(t, filepath.Join(dir, "plain"), "#!/bin/sh\n", 0o600)
	broken := write(t, filepath.Join(dir, "broken"), "#!/no/such/interpreter\n", 0o700)
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := []string{"PATH=" + dir + "/none:" + dir}
	for _, test := range []struct {
		args []string
		env  []string
		code int
		want error
	}{
		{[]string{"no-such-command"}, path, 127, inject.ErrNotFound},
		{[]string{"folder"}, path, 127, inject.ErrNotFound},
		{[]string{""}, path, 127, inject.ErrNotFound},
		{[]string{"sh"}, []string{"PATH="}, 127, inject.ErrNotFound},
		{[]string{dir + "/none"}, nil, 127, inject.ErrNotFound},
		{[]string{plain + "/x"}, nil, 127, inject.ErrNotFound},
		{[]string{broken}, nil, 127, inject.ErrNotFound},
		{[]string{"broken"}, path, 127, inject.ErrNotFound},
		{[]string{plain}, nil, 126, inject.ErrNotExecutable},
		{[]string{"plain"}, path, 126, inject.ErrNotExecutable},
		{[]string{dir}, nil, 126, inject.ErrNotExecutable},
		{[]string{"/bin/sh", strings.Repeat("x", 4<<20)}, nil, 126, inject.ErrNotExecutable},
	} {
		code, err := exit(t, t.Context(), inject.Command{Args: test.args, Env: test.env})
		if code != test.code || err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%.60q: got %d, %v, want %d, %v", test.args, code, err, test.code, test.want)
		}
		var start *inject.StartError
		if test.want == inject.ErrNotFound && (!errors.As(err, &start) || start.Hint == "") {
			t.Errorf("%q: no hint in %#v", test.args, err)
		}
	}
}

func TestPathIsTheChilds(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	write(t, filepath.Join(first, "tool"), "#!/bin/sh\necho first\n", 0o600)
	write(t, filepath.Join(second, "tool"), "echo second $0 $1\n", 0o700) // without #!
	out, code, err := run(t, t.Context(), inject.Command{
		Args: []string{"tool", "arg"}, Env: []string{"PATH=" + first + ":" + second, "PATH=" + first},
	})
	if want := "second " + second + "/tool arg\n"; out != want || code != 0 || err != nil {
		t.Errorf("got %q, %d, %v, want %q", out, code, err, want)
	}
}

func TestArgumentZero(t *testing.T) {
	out, _, err := run(t, t.Context(), inject.Command{
		Args: []string{"sh", "-c", "tr '\\0' ' ' </proc/$$/cmdline"}, Env: []string{"PATH=/bin:/usr/bin"},
	})
	if !strings.HasPrefix(out, "sh -c ") || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestEnvironmentIsComplete(t *testing.T) {
	t.Setenv("INHERITED", "x")
	out, _, err := run(t, t.Context(), inject.Command{
		Args: []string{"env"}, Env: []string{"PATH=/bin:/usr/bin", "A=1\n2"},
	})
	if out != "PATH=/bin:/usr/bin\nA=1\n2\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestSameFiles shows that the child reads from our file and not from a copy:
// the offset moves.
func TestSameFiles(t *testing.T) {
	f, err := os.Open(write(t, filepath.Join(t.TempDir(), "in"), "first\nsecond\n", 0o600))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := sh("read line; echo $line")
	c.Stdin = f
	out, _, err := run(t, t.Context(), c)
	if out != "first\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	rest, err := io.ReadAll(f)
	if string(rest) != "second\n" || err != nil {
		t.Errorf("left %q, %v", rest, err)
	}
}

// TestGrandchildKeepsStdout fails if the end of stdout is waited for:
// the grandchild holds it until Run has returned.
func TestGrandchildKeepsStdout(t *testing.T) {
	in, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := sh("exec 3<&0; { cat <&3; echo still here; } & exit 3")
	c.Stdin, c.Stdout = in, w
	code, err := exit(t, t.Context(), c)
	if code != 3 || err != nil {
		t.Errorf("got %d, %v", code, err)
	}
	in.Close()
	w.Close()
	hold.Close()
	b, err := io.ReadAll(limited{r})
	if string(b) != "still here\n" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

// TestStop cancels when the child is up. The grandchild is of its group; the
// output ends when both are gone.
func TestStop(t *testing.T) {
	// A new shell says ready: a fork of the first one has its trap for a moment.
	const other = `sh -c 'echo ready; exec cat' <&3 & `
	for _, test := range []struct {
		name, script, out string
		timeout           time.Duration
		code              int
	}{
		{"polite", `trap 'echo bye; exit 5' TERM; ` + other + `wait`, "bye\n", 0, 5},
		{"stopped", `trap 'echo bye; exit 5' TERM; ` + other + `kill -STOP $$; wait`, "bye\n", 0, 5},
		{"deaf", `trap '' TERM; ` + other + `wait`, "", time.Millisecond, 137},
	} {
		t.Run(test.name, func(t *testing.T) {
			in, hold, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer hold.Close()
			defer in.Close()
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := sh("exec 3<&0; " + test.script)
			c.Stdin, c.Stdout, c.StopTimeout = in, w, test.timeout
			done := make(chan result, 1)
			go func() {
				code, err := runAlone(ctx, c)
				w.Close()
				done <- result{code, err}
			}()
			if _, err := io.ReadFull(limited{r}, make([]byte, len("ready\n"))); err != nil {
				t.Fatal(err)
			}
			cancel()
			if got := wait(t, done, "end of Run"); got != (result{test.code, nil}) {
				t.Errorf("got %+v, want %d", got, test.code)
			}
			b, err := io.ReadAll(limited{r})
			if string(b) != test.out || err != nil {
				t.Errorf("got %q, %v", b, err)
			}
		})
	}
}

func TestContextEndedBefore(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("no values")
	cancel(cause)
	if code, err := exit(t, ctx, sh("exit 0")); code != 125 || !errors.Is(err, cause) {
		t.Errorf("got %d, %v", code, err)
	}
}

// BenchmarkStart prints how much longer a command takes with Run than with
// os/exec, side by side.
func BenchmarkStart(b *testing.B) {
	ctx, signals := inject.NotifySignals(b.Context())
	defer signals.Close()
	var bare, wrapped time.Duration
	for b.Loop() {
		start := time.Now()
		if err := exec.Command("/bin/true").Run(); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if code, err := runAlone(ctx, inject.Command{Args: []string{"/bin/true"}, Signals: signals}); code != 0 || err != nil {
			b.Fatal(code, err)
		}
		bare += middle.Sub(start)
		wrapped += time.Since(middle)
	}
	b.ReportMetric(float64(wrapped)/float64(bare), "x-bare")
}
