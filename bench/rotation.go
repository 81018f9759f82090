package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/roomenv/roomenv/internal/hosted"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// rotation is how long it takes until a file has the value that a secret was set
// to, and until a new child runs with it. A room tells of a change as soon as it
// is on the disk, which the answer to set may come after.
func rotation(ctx context.Context, l lab) error {
	address, stop, err := l.serve()
	if err != nil {
		return err
	}
	defer stop()
	if err := l.fill(ctx, address, 1); err != nil {
		return err
	}
	client, err := l.join(ctx, address)
	if err != nil {
		return err
	}
	defer client.Close()

	const child = `echo "$KEY"; exec sleep 1000`
	shell, err := l.interleave(func() *exec.Cmd { return exec.Command("sh", "-c", `echo "$KEY"`) })
	if err != nil {
		return err
	}
	n := 5 * l.runs
	fmt.Printf("\na secret that is set anew in a local room on loopback, pushed (medians of %d)\n", n)
	fmt.Printf("  %-32s %12s %12s %12s\n", "", "the set", "from set on", "from answer")
	for _, row := range []struct {
		name, manifest string
		args           []string
		arrivals       func(*exec.Cmd, string) (<-chan arrival, error)
	}{
		{"another file is in its place", "files: {key: {secret: k0}}", []string{"sleep", "1000"}, swaps},
		{"a new child has written", "env: {KEY: room:secret/k0}", []string{"sh", "-c", child}, lines},
	} {
		set, whole, after, err := l.rotate(ctx, client, n, row.manifest, row.args, row.arrivals)
		if err != nil {
			return fmt.Errorf("%s: %w", row.name, err)
		}
		fmt.Printf("  %-32s %9.2f ms %9.2f ms %9.2f ms %6.1fx set\n", row.name,
			milliseconds(set), milliseconds(whole), milliseconds(after), float64(whole)/float64(set))
	}
	fmt.Printf("  %-32s %35.2f ms\n", "the same shell alone", milliseconds(shell[0]))
	return nil
}

// An arrival is a value, and when it came.
type arrival struct {
	value string
	at    time.Time
}

// rotate sets a secret n times while an exec with the manifest runs args. It
// returns how long a set takes, and how long it takes from its beginning and from
// its answer until the value has arrived.
func (l lab) rotate(ctx context.Context, client *room.Client, n int, manifest string, args []string,
	arrivals func(cmd *exec.Cmd, folder string) (<-chan arrival, error),
) (set, whole, after time.Duration, err error) {
	const quiet = 20 * time.Millisecond // after which a change is the first one again
	path := filepath.Join(l.dir, "rotated.yaml")
	text := fmt.Sprintf("version: 1\nrefresh: {debounce: %s}\n%s\n", quiet, manifest)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return 0, 0, 0, err
	}
	folder, err := os.MkdirTemp(l.memory, "files")
	if err != nil {
		return 0, 0, 0, err
	}
	cmd := l.roomenv(append([]string{"exec", "-m", path, "--dir", folder, "--"}, args...)...)
	arrived, err := arrivals(cmd, folder)
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return 0, 0, 0, err
	}
	defer end(cmd)
	if _, err := next(arrived); err != nil {
		return 0, 0, 0, err
	}

	var sets, wholes, afters []time.Duration
	for i := range n {
		time.Sleep(3 * quiet)
		value := fmt.Sprintf("value-%d", i)
		begun := time.Now()
		if err := client.Secrets().Set(ctx, room.NewSecret{ID: "k0", Value: secret.New([]byte(value))}); err != nil {
			return 0, 0, 0, err
		}
		answered := time.Now()
		a, err := next(arrived)
		if err == nil && a.value != value {
			err = fmt.Errorf("%q came in place of %q", a.value, value)
		}
		if err != nil {
			return 0, 0, 0, err
		}
		sets, wholes, afters = append(sets, answered.Sub(begun)), append(wholes, a.at.Sub(begun)), append(afters, a.at.Sub(answered))
	}
	return median(sets), median(wholes), median(afters), nil
}

func next(arrived <-chan arrival) (arrival, error) {
	select {
	case a, ok := <-arrived:
		if !ok {
			return a, errors.New("exec has ended")
		}
		return a, nil
	case <-time.After(10 * time.Second):
		return arrival{}, errors.New("no value came within 10 s")
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// lines has the lines arrive that the command writes.
func lines(cmd *exec.Cmd, _ string) (<-chan arrival, error) {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	arrived := make(chan arrival)
	go func() {
		defer close(arrived)
		for text := bufio.NewScanner(stdout); text.Scan(); {
			arrived <- arrival{text.Text(), time.Now()}
		}
	}()
	return arrived, nil
}

// swaps has the content of a file arrive whenever the link to the folder that it
// is in leads to another one.
func swaps(_ *exec.Cmd, folder string) (<-chan arrival, error) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := watcher.Add(folder); err != nil {
		return nil, err
	}
	arrived := make(chan arrival)
	go func() {
		defer close(arrived)
		defer watcher.Close()
		for e := range watcher.Events {
			at := time.Now()
			switch {
			case filepath.Base(e.Name) != "current":
			case e.Has(fsnotify.Create):
				value, _ := os.ReadFile(filepath.Join(folder, "current", "key"))
				arrived <- arrival{string(value), at}
			case e.Has(fsnotify.Remove):
				return
			}
		}
	}()
	return arrived, nil
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait()
}

// idle is what an exec of 100 references costs while nothing changes: in a room
// that tells of changes, and in one that is asked every ten seconds.
func idle(duration time.Duration) func(context.Context, lab) error {
	return func(ctx context.Context, l lab) error {
		const secrets = 100
		address, stop, err := l.serve()
		if err != nil {
			return err
		}
		defer stop()
		if err := l.fill(ctx, address, secrets); err != nil {
			return err
		}
		token, err := l.token()
		if err != nil {
			return err
		}
		var manifest strings.Builder
		manifest.WriteString("version: 1\nrefresh: {interval: 10s}\nenv:\n")
		for i := range secrets {
			fmt.Fprintf(&manifest, "  KEY_%d: room:secret/k%d\n", i, i)
		}
		path := filepath.Join(l.dir, "idle.yaml")
		if err := os.WriteFile(path, []byte(manifest.String()), 0o600); err != nil {
			return err
		}
		rows := []struct {
			name  string
			proxy *hosted.Proxy
			cmd   *exec.Cmd
		}{
			{name: "pushed", proxy: &hosted.Proxy{Upstream: "http://" + address, Push: true}},
			{name: "polled every 10 s", proxy: &hosted.Proxy{Upstream: "http://" + address}},
		}
		for i := range rows {
			r := &rows[i]
			server := httptest.NewServer(r.proxy)
			defer server.Close()
			r.cmd = l.roomenv("exec", "-m", path, "--", "sh", "-c", "echo; exec sleep 100000")
			r.cmd.Env = append(r.cmd.Env, "MESHAGENT_ROOM=default", "MESHAGENT_TOKEN="+token, "MESHAGENT_ROOM_URL="+server.URL)
			stdout, err := r.cmd.StdoutPipe()
			if err != nil {
				return err
			}
			if err := r.cmd.Start(); err != nil {
				return err
			}
			defer end(r.cmd)
			if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
				return err
			}
		}
		time.Sleep(time.Second) // in which what a start leaves behind is done
		before := make([]time.Duration, len(rows))
		for i, r := range rows {
			if before[i], err = cpu(r.cmd.Process.Pid); err != nil {
				return err
			}
			r.proxy.Requests.Store(0)
		}
		time.Sleep(duration)
		fmt.Printf("\nidle exec of %d references, for %s\n", secrets, duration)
		perMinute := float64(time.Minute) / float64(duration)
		var first float64
		for i, r := range rows {
			after, err := cpu(r.cmd.Process.Pid)
			if err != nil {
				return err
			}
			rss, err := resident(r.cmd.Process.Pid)
			if err != nil {
				return err
			}
			used := milliseconds(after-before[i]) * perMinute
			if i == 0 {
				first = used
			}
			fmt.Printf("  %-18s %7.1f ms of CPU a minute  %5.1fx  %6.0f requests a minute  %5.1f MiB\n",
				r.name, used, used/first, float64(r.proxy.Requests.Load())*perMinute, float64(rss)/1024)
		}
		return nil
	}
}

// cpu is what all threads of a process have had, by the scheduler's own count,
// in nanoseconds (proc_pid_schedstat, Documentation/scheduler/sched-stats.rst of
// Linux).
func cpu(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // a thread that has ended
		}
		n, err := strconv.ParseInt(strings.Fields(string(b))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum), nil
}
