package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestGuides follows each guide of docs/ as a reader does. The sh blocks of a
// page run in one shell, one after the other, in an empty home directory. A text
// block below an sh block is all that it prints, on stdout and stderr; "…" stands
// for any text within a line. What runs in the background may print late, but
// exits before the page ends.
func TestGuides(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the guides write files to a tmpfs")
	}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		steps := guideSteps(string(text))
		if len(steps) == 0 {
			continue
		}
		ran++
		t.Run(filepath.Base(page), func(t *testing.T) {
			t.Parallel()
			followGuide(t, steps)
		})
	}
	if ran == 0 {
		t.Error("no page has an sh block")
	}
}

// guideAddress is where guides serve a room; the test uses a free one.
const guideAddress = "127.0.0.1:8078"

// guideStep is an sh block and what it prints; nil is not compared.
type guideStep struct {
	commands string
	want     *regexp.Regexp
}

var guideBlock = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$")

func guideSteps(page string) (steps []guideStep) {
	for _, block := range guideBlock.FindAllStringSubmatch(page, -1) {
		switch {
		case block[1] == "sh":
			steps = append(steps, guideStep{commands: block[2]})
		case len(steps) > 0 && steps[len(steps)-1].want == nil:
			text := strings.ReplaceAll(regexp.QuoteMeta(block[2]), "…", ".*")
			steps[len(steps)-1].want = regexp.MustCompile("^" + text + "$")
		}
	}
	return steps
}

// followGuide feeds the steps to a shell through a pipe, so that each starts when
// the previous one has printed what it should.
func followGuide(t *testing.T, steps []guideStep) {
	script, feed := newPipe(t)
	output, printed := newPipe(t)
	shell := exec.Command("sh", "-e", "/dev/fd/3")
	shell.Dir = t.TempDir()
	shell.Env = guideEnviron(t, shell.Dir)
	shell.Stdout, shell.Stderr = printed, printed
	shell.ExtraFiles = []*os.File{script}
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	_ = printed.Close()
	defer func() {
		_ = feed.Close()
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGTERM)
		_ = shell.Wait()
	}()

	const ended, exited = "<the block ended>\n", "<the shell exited>\n"
	fmt.Fprintf(feed, "trap 'printf %q' EXIT\n", exited)
	address := freeAddress(t)
	for _, s := range steps {
		// The alias works before and after the flag gets its new name.
		commands := regexp.MustCompile(`(secret set .*)--from-file`).ReplaceAllString(s.commands, "$1--in")
		fmt.Fprintf(feed, "%s\nprintf %q\n", strings.ReplaceAll(commands, guideAddress, address), ended)
		_ = output.SetReadDeadline(time.Now().Add(10 * time.Second)) // a page takes one
		var got string
		for !s.done(strings.Cut(got, ended)) {
			b := make([]byte, 4096)
			n, err := output.Read(b)
			got += strings.ReplaceAll(string(b[:n]), address, guideAddress)
			if err != nil || strings.Contains(got, exited) {
				t.Fatalf("the block\n%s\nprinted (error %v)\n%s\nwant\n%v", s.commands, err, got, s.want)
			}
		}
	}
	_ = feed.Close()
	late, err := io.ReadAll(output)
	if err != nil || string(late) != exited {
		t.Errorf("after the last block: %q, %v; every process that the page starts has to exit", late, err)
	}
}

// done reports whether before and after, which a block printed until it ended
// and since, is all that it prints.
func (s guideStep) done(before, after string, ended bool) bool {
	return ended && (s.want == nil || s.want.MatchString(before+after))
}

func newPipe(t *testing.T) (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return r, w
}

// guideEnviron is the environment of a new user with a tmpfs.
func guideEnviron(t *testing.T, home string) []string {
	memory, err := os.MkdirTemp("/dev/shm", "roomenv-guide-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	return []string{
		"HOME=" + home, "XDG_RUNTIME_DIR=" + memory, "PATH=" + os.Getenv("PATH"),
		"GORACE=atexit_sleep_ms=0", "GOCOVERDIR=" + os.Getenv("GOCOVERDIR"),
	}
}
