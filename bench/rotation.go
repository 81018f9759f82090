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

// rotation is how long after the answer to set a file has the new value, and a
// new child runs with it, beside the time that set itself takes.
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

	folder, err := os.MkdirTemp("/dev/shm", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	files := filepath.Join(l.dir, "files.yaml")
	variable := filepath.Join(l.dir, "variable.yaml")
	const quiet = 20 * time.Millisecond // after each change, so that none is gathered with the next
	refresh := fmt.Sprintf("version: 1\nrefresh: {debounce: %s}\n", quiet)
	if err := errors.Join(
		os.WriteFile(files, []byte(refresh+"files: {key: {secret: k0}}\n"), 0o600),
		os.WriteFile(variable, []byte(refresh+"env: {KEY: room:secret/k0}\n"), 0o600),
	); err != nil {
		return err
	}

	swaps, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer swaps.Close()
	keeper := l.roomenv("exec", "-m", files, "--dir", folder, "--", "sleep", "1000")
	if err := keeper.Start(); err != nil {
		return err
	}
	defer end(keeper)
	if err := waitFor(filepath.Join(folder, "current", "key")); err != nil {
		return err
	}
	if err := swaps.Add(folder); err != nil {
		return err
	}
	runner := l.roomenv("exec", "-m", variable, "--", "sh", "-c", `echo "$KEY"; exec sleep 1000`)
	output, err := runner.StdoutPipe()
	if err != nil {
		return err
	}
	if err := runner.Start(); err != nil {
		return err
	}
	defer end(runner)
	children := bufio.NewScanner(output)
	children.Scan()

	var sets, swapped, started []time.Duration
	for i := range 5 * l.runs {
		value := fmt.Sprintf("value-%d", i)
		begun := time.Now()
		if err := client.Secrets().Set(ctx, room.NewSecret{ID: "k0", Value: secret.New([]byte(value))}); err != nil {
			return err
		}
		answered := time.Now()
		sets = append(sets, answered.Sub(begun))
		if err := awaitSwap(swaps); err != nil {
			return err
		}
		swapped = append(swapped, time.Since(answered))
		for children.Scan() && children.Text() != value {
			continue
		}
		started = append(started, time.Since(answered))
		time.Sleep(2 * quiet)
	}
	set := median(sets)
	fmt.Printf("\na secret that is rotated in a local room on loopback, pushed (median of %d)\n", len(sets))
	fmt.Printf("  %-40s %6.2f ms\n", "set, until it is answered", milliseconds(set))
	fmt.Printf("  %-40s %6.2f ms  %5.1fx\n", "then until the file is another one", milliseconds(median(swapped)), float64(median(swapped))/float64(set))
	fmt.Printf("  %-40s %6.2f ms  %5.1fx\n", "then until the new child has written", milliseconds(median(started)), float64(median(started))/float64(set))
	return nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// awaitSwap waits for the link of a folder of files to be another one.
func awaitSwap(w *fsnotify.Watcher) error {
	for {
		select {
		case e := <-w.Events:
			if filepath.Base(e.Name) == "current" && e.Has(fsnotify.Create) {
				return nil
			}
		case err := <-w.Errors:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("no file was swapped within 10 s")
		}
	}
}

func waitFor(path string) error {
	for range 1000 {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s did not appear within 10 s", path)
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
