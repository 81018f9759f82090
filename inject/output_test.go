package inject_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/mask"
	"github.com/roomenv/roomenv/secret"
)

const canary = "hunter2-canary"

func masker() *mask.Masker {
	m := new(mask.Masker)
	m.Set(mask.Secret{Name: "CANARY", Value: secret.New([]byte(canary))})
	return m
}

// maskIn has roomenv mask if MASK says so.
func maskIn(c *inject.Command) {
	if os.Getenv("MASK") == "" {
		return
	}
	inject.SetMasker(c, masker())
	c.Monitor = []string{"/proc/self/exe", "monitor"}
}

// monitor is what the command does when it is Command.Monitor.
func monitor() int {
	ctx, signals := inject.NotifySignals(context.Background())
	defer signals.Close()
	code, err := inject.RunMonitor(ctx, inject.Command{Args: os.Args[2:], Env: os.Environ(), Signals: signals})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

func masked(script string) inject.Command {
	c := sh(script)
	c.Env = append(c.Env, "CANARY="+canary)
	inject.SetMasker(&c, masker())
	return c
}

// drain runs c and reads its output meanwhile.
func drain(t *testing.T, c inject.Command) (out string, code int, err error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(r)
		all <- string(b)
	}()
	c.Stdout = w
	code, err = exit(t, t.Context(), c)
	w.Close()
	return wait(t, all, "end of the output"), code, err
}

func TestMaskedPipe(t *testing.T) {
	for script, want := range map[string]struct {
		out  string
		code int
	}{
		`echo "<$CANARY>"; exit 3`:           {"<[CANARY]>\n", 3},
		`printf hunter2; printf -- -canar`:   {"hunter2-canar", 0},
		`echo $CANARY; kill -KILL $$`:        {"[CANARY]\n", 137},
		`exec >&-; exit 4`:                   {"", 4},
		`(echo "$CANARY") & wait; echo done`: {"[CANARY]\ndone\n", 0},
		`grep flags /proc/self/fdinfo/1`:     {"flags:\t01\n", 0}, // O_WRONLY and not O_NONBLOCK
	} {
		out, code, err := drain(t, masked(script))
		if out != want.out || code != want.code || err != nil {
			t.Errorf("%s: got %q, %d, %v, want %q, %d", script, out, code, err, want.out, want.code)
		}
	}
}

// TestMaskedOrder writes to stdout and stderr in turn, which are one file.
func TestMaskedOrder(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := masked(`for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done; printf hunter2; printf -- -canary >&2`)
	c.Stdout, c.Stderr = f, f
	if code, err := exit(t, t.Context(), c); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	var want strings.Builder
	for i := 1; i < 10; i++ {
		fmt.Fprintf(&want, "out %d\nerr %d\n", i, i)
	}
	want.WriteString("[CANARY]")
	if got, err := os.ReadFile(f.Name()); string(got) != want.String() || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestMaskedApart(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "err"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := masked(`echo out $CANARY; echo err $CANARY >&2`)
	c.Stderr = f
	out, _, err := drain(t, c)
	if out != "out [CANARY]\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if got, err := os.ReadFile(f.Name()); string(got) != "err [CANARY]\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestMaskedPrompt waits for input behind what may be the beginning of a value.
func TestMaskedPrompt(t *testing.T) {
	w := wrap(t, []string{"MASK=1"}, "/bin/sh", "-c", "printf '> h'; read x; echo got $x")
	prompt := make([]byte, 3)
	if _, err := io.ReadFull(w.lines, prompt); err != nil || string(prompt) != "> h" {
		t.Fatalf("got %q, %v", prompt, err)
	}
	_ = w.stdin.Close()
	w.end(t, "got\n", 0)
}

// TestMaskedReaderStalls has the child write until the reader, which takes
// nothing, goes away. For each block of 4 KiB that it got rid of it writes a line
// to stderr. roomenv and two pipes hold 40 of them.
func TestMaskedReaderStalls(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	counted, count, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer counted.Close()
	c := masked(`while head -c 4096 /dev/zero; do echo >&2; done; kill -PIPE $$`)
	c.Stdout, c.Stderr = w, count
	done := make(chan int, 1)
	go func() {
		code, _ := runAlone(t.Context(), c)
		w.Close()
		count.Close()
		done <- code
	}()
	if _, err := io.ReadFull(limited{counted}, make([]byte, 32)); err != nil {
		t.Fatal(err)
	}
	r.Close()
	rest, err := io.ReadAll(limited{counted})
	if err != nil || len(rest) > 16 {
		t.Errorf("the child wrote %d blocks more, which nobody took (%v)", len(rest), err)
	}
	if code := wait(t, done, "end of Run"); code != 128+int(unix.SIGPIPE) {
		t.Errorf("exit code %d", code)
	}
}

// TestMaskedReaderStallsAtTheEnd has more output than the reader takes when the
// context ends.
func TestMaskedReaderStallsAtTheEnd(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := masked(`head -c 100000 /dev/zero; echo written >&2`)
	c.Stdout = w
	written, stderr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer written.Close()
	c.Stderr = stderr
	done := make(chan error, 1)
	go func() {
		_, err := runAlone(ctx, c)
		stderr.Close()
		done <- err
	}()
	if _, err := io.ReadFull(limited{written}, make([]byte, len("written\n"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := wait(t, done, "end of Run"); err != nil {
		t.Error(err)
	}
	r.Close() // ends the goroutine that still writes
}

// TestMaskedGrandchild ends although a process keeps the output open.
func TestMaskedGrandchild(t *testing.T) {
	in, hold, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	c := masked(`exec 3<&0; cat <&3 & head -c 200000 /dev/zero; echo $CANARY; exit 3`)
	c.Stdin = in
	out, code, err := drain(t, c)
	if len(out) != 200000+len("[CANARY]\n") || !strings.HasSuffix(out, "[CANARY]\n") || code != 3 || err != nil {
		t.Errorf("got %d bytes, %d, %v", len(out), code, err)
	}
	in.Close()
}

// TestMaskedGrandchildChatters never stops to write.
func TestMaskedGrandchildChatters(t *testing.T) {
	c := masked(`yes $CANARY & echo $!; exit 3`)
	out, code, err := drain(t, c)
	if !strings.Contains(out, "[CANARY]\n[CANARY]\n") || strings.Contains(out, canary) || code != 3 || err != nil {
		t.Errorf("got %.40q…, %d, %v", out, code, err)
	}
}

// onMasked starts roomenv on a terminal, masking.
func onMasked(t *testing.T, env []string, args ...string) *terminal {
	t.Helper()
	return onTerminal(t, append(env, role+"=roomenv", "MASK=1", "CANARY="+canary), self(t), args...)
}

func TestMaskedTerminal(t *testing.T) {
	for script, want := range map[string]struct {
		out  string
		code int
	}{
		`test -t 0 && test -t 1 && test -t 2 && echo $CANARY`:   {"[CANARY]\r\n", 0},
		`echo hunter2 >/dev/tty; echo $CANARY >/dev/tty`:        {"hunter2\r\n[CANARY]\r\n", 0},
		`printf 'hunter2\n-canary'; printf $CANARY >&2; exit 3`: {"hunter2\r\n-canary[CANARY]", 3},
		`kill -SEGV $$`: {"", 139},
		`sleep 1000 & seq 1 20000 | tail -1; kill $!`: {"20000\r\n", 0},
	} {
		x := onMasked(t, nil, "/bin/sh", "-c", script)
		if got := x.end(t, want.code); got != want.out {
			t.Errorf("%s: got %q, want %q", script, got, want.out)
		}
	}
	x := onMasked(t, nil, "/no/such/command")
	if got := x.end(t, 127); !strings.Contains(got, "command not found") {
		t.Errorf("got %q", got)
	}
}

// TestMaskedLargeOutput passes all on before the end.
func TestMaskedLargeOutput(t *testing.T) {
	x := onMasked(t, nil, "seq", "1", "50000")
	lines := x.until(t, "50000")
	if len(lines) != 49999 || !slices.IsSortedFunc(lines, func(a, b string) int { return len(a) - len(b) }) {
		t.Errorf("got %d lines", len(lines))
	}
	x.end(t, 0)
}

// TestMaskedSignals come from elsewhere and reach the child once.
func TestMaskedSignals(t *testing.T) {
	x := onMasked(t, []string{"CHILD_ROLE=reporter"}, self(t))
	x.until(t, "ready")
	for _, s := range []unix.Signal{unix.SIGUSR1, unix.SIGHUP, unix.SIGQUIT, unix.SIGCONT} {
		if err := x.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if before := x.until(t, "got "+unix.SignalName(s)); len(before) > 0 {
			t.Errorf("got %q before %v", before, s)
		}
	}
	if err := x.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if rest := x.end(t, 42); rest != "got SIGTERM\r\n" {
		t.Errorf("then %q", rest)
	}
}

// TestMaskedSize has the size of the terminal from the start.
func TestMaskedSize(t *testing.T) {
	x := onMasked(t, nil, "/bin/sh", "-c", "read x; stty size; stty -a | grep -o '[-]*opost'")
	x.resize(t, 11, 22)
	x.keys(t, "\n")
	if rest := strings.TrimSpace(x.end(t, 0)); rest != "11 22\r\nopost" {
		t.Errorf("got %q", rest)
	}
}

// TestMaskedKilled kills roomenv, and so the monitor and the child.
func TestMaskedKilled(t *testing.T) {
	hold, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	c := exec.Command(self(t), "/bin/sh", "-c", `trap '' HUP; echo ready; exec sleep 1000`)
	c.ExtraFiles = []*os.File{w}
	x := startOnTerminal(t, []string{role + "=roomenv", "MASK=1"}, c)
	w.Close()
	x.until(t, "ready")
	_ = c.Process.Kill()
	// A process that is left holds the pipe.
	if _, err := io.ReadAll(limited{hold}); err != nil {
		t.Error(err)
	}
}

// BenchmarkMask carries 64 MiB from cat through a mask, and beside it from cat
// through another cat.
func BenchmarkMask(b *testing.B) {
	line := []byte("2026-11-23T19:00:00.123Z INFO request id=0a1b2c3d path=/api/v1/items/12345 status=200 took=12ms\n")
	text := bytes.Repeat(line, 64<<20/len(line))
	path := filepath.Join(b.TempDir(), "log")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		b.Fatal(err)
	}
	ctx, signals := inject.NotifySignals(b.Context())
	defer signals.Close()
	carry := func(script string, m *mask.Masker) time.Duration {
		r, w, err := os.Pipe()
		if err != nil {
			b.Fatal(err)
		}
		defer r.Close()
		drained := make(chan int64)
		go func() {
			n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 128<<10))
			drained <- n
		}()
		start := time.Now()
		c := inject.Command{Args: []string{"/bin/sh", "-c", script, path}, Stdout: w, Signals: signals}
		inject.SetMasker(&c, m)
		code, err := runAlone(ctx, c)
		w.Close()
		if n := <-drained; n != int64(len(text)) || code != 0 || err != nil {
			b.Fatal(n, code, err)
		}
		return time.Since(start)
	}
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := new(mask.Masker)
			values := make([]mask.Secret, n)
			for i := range values {
				values[i] = mask.Secret{Name: "X", Value: secret.New(fmt.Appendf(nil, "%x-a password of usual length+%d", i*7919, i))}
			}
			m.Set(values...)
			var cat, masked time.Duration
			for b.Loop() {
				cat += carry(`cat "$0" | cat`, nil)
				masked += carry(`cat "$0"`, m)
			}
			b.ReportMetric(float64(masked)/float64(cat), "x-cat")
			b.ReportMetric(float64(b.N)*float64(len(text))/1e6/masked.Seconds(), "masked-MB/s")
		})
	}
}
