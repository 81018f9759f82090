package localroom_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

func openRoom(t testing.TB, dir string) *localroom.Room {
	t.Helper()
	e, err := localroom.Open(dir, localroom.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func enter(ctx context.Context, e *localroom.Room, identity string) (*peer, error) {
	jwt, err := e.Token("demo", identity, scoped())
	if err != nil {
		return nil, err
	}
	return connect(ctx, e.DialContext, "ws://room/rooms/demo", jwt)
}

func mustEnter(t testing.TB, e *localroom.Room, identity string) *peer {
	t.Helper()
	p, err := enter(t.Context(), e, identity)
	if err != nil {
		t.Fatal(err)
	}
	p.patience = patience
	t.Cleanup(func() { p.conn.CloseNow() })
	return p
}

func TestEmbeddedRoom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "room")
	e := openRoom(t, dir)
	p := mustEnter(t, e, "ann")
	if err := setSecret(t.Context(), p, "a", "v"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"": 0o700, "room.db": 0o600, "room.key": 0o600, "room.sock": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has mode %v, error %v; want %v", name, info.Mode(), err, want)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := enter(t.Context(), e, "ann"); !errors.Is(err, localroom.ErrClosed) {
		t.Errorf("a closed room: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 3 { // key, store and its state
		t.Errorf("left behind: %v, error %v", files, err)
	}
	again := mustEnter(t, openRoom(t, dir), "ann")
	if got := outcome(again.invoke(t.Context(), "secrets", "get_secret", getArguments("a"))); got != "v" {
		t.Errorf("after a restart the secret is %q", got)
	}
}

// Many come to an empty folder at once: one serves, all are in the same room.
func TestRaceForTheRoom(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			p, err := enter(t.Context(), openRoom(t, dir), "ann")
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { p.conn.CloseNow() })
			if err := setSecret(t.Context(), p, fmt.Sprint(i), "v"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	p := mustEnter(t, openRoom(t, dir), "ann")
	if got := outcome(p.invoke(t.Context(), "secrets", "list_secrets", jsonObject(`{}`))); got != "0/ 1/ 2/ 3/ 4/ 5/ 6/ 7/ 8/ 9/ " {
		t.Errorf("in the room are %s", got)
	}
}

// A process that is about to be stopped leaves the room to others, and does not
// take it back before it goes on.
func TestSuspend(t *testing.T) {
	dir := t.TempDir()
	first, second := openRoom(t, dir), openRoom(t, dir)
	if err := first.Acquire(); err != nil {
		t.Fatal(err)
	}
	client := dialAs(t, first, "ann", unasked)
	resume := first.Suspend()
	if err := first.Acquire(); !errors.Is(err, localroom.ErrLocked) {
		t.Errorf("held while suspended: %v", err)
	}
	p := mustEnter(t, second, "ann")
	if err := setSecret(t.Context(), p, "key", "v"); err != nil {
		t.Error(err)
	}
	resume()
	if s, err := client.Secrets().Get(t.Context(), room.SecretQuery{ID: "key"}); err != nil || string(s.Value.Reveal()) != "v" {
		t.Errorf("the client of the first got %s, %v", s.Value.Reveal(), err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := client.Secrets().Get(t.Context(), room.SecretQuery{ID: "key"}); err != nil {
		t.Errorf("after the second has gone: %v", err)
	}
}

func TestHolderWithoutSocket(t *testing.T) {
	dir := t.TempDir()
	e := openRoom(t, dir)
	if err := e.Acquire(); err != nil {
		t.Fatal(err)
	}
	e.Close()
	roomKey, err := os.ReadFile(filepath.Join(dir, "room.key"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := localroom.ParseKey(secret.New(roomKey))
	if err != nil {
		t.Fatal(err)
	}
	// Somebody has the lock and does not listen yet; a socket is left over.
	store, err := localroom.OpenStore(filepath.Join(dir, "room.db"), k)
	if err != nil {
		t.Fatal(err)
	}
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "room.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()

	other := openRoom(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := other.DialContext(ctx, "", ""); !errors.Is(err, localroom.ErrLocked) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a room that nobody serves: %v", err)
	}
	entered := make(chan error)
	go func() {
		p, err := enter(t.Context(), other, "ann")
		if err == nil {
			p.conn.CloseNow()
		}
		entered <- err
	}()
	store.Close()
	if err := <-entered; err != nil {
		t.Error(err)
	}
}

func TestHoldAndServe(t *testing.T) {
	dir := t.TempDir()
	e := openRoom(t, dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Serve(t.Context(), l, nil); err == nil {
		t.Error("a room that is not held was served")
	}
	if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	if err := e.Acquire(); err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- e.Serve(t.Context(), l, nil) }()

	other := openRoom(t, dir)
	if err := other.Acquire(); !errors.Is(err, localroom.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) {
		t.Errorf("held twice: %v", err)
	}
	jwt, err := other.Token("demo", "ann", scoped())
	if err != nil {
		t.Fatal(err)
	}
	overTCP, err := connect(t.Context(), nil, "http://"+l.Addr().String()+"/rooms/demo", jwt)
	if err != nil {
		t.Fatal(err)
	}
	defer overTCP.conn.CloseNow()
	if err := setSecret(t.Context(), overTCP, "a", "v"); err != nil {
		t.Fatal(err)
	}
	if got := outcome(mustEnter(t, other, "ann").invoke(t.Context(), "secrets", "get_secret", getArguments("a"))); got != "v" {
		t.Errorf("over the socket the secret is %q", got)
	}
	e.Close()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := other.Acquire(); err != nil {
		t.Errorf("after the leader ended: %v", err)
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	e := openRoom(t, t.TempDir())
	if err := e.Acquire(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Serve(ctx, l, nil); err != nil {
		t.Error(err)
	}
}

// The tokens of the room itself are for a connection that is made at once.
func TestTokenLifetime(t *testing.T) {
	s, path := newStore(t)
	e, err := localroom.Open(filepath.Dir(path), localroom.Options{Key: key(1)})
	if err != nil {
		t.Fatal(err)
	}
	jwt, err := e.Token("demo", "ann", scoped())
	if err != nil {
		t.Fatal(err)
	}
	got, err := token.Verify(jwt, func(string) (secret.Value, bool) { return s.SigningKey(), true }, time.Now())
	if left := time.Until(got.Expires); err != nil || got.Name != "ann" || got.Room != "demo" || left < time.Minute || left > 24*time.Hour {
		t.Errorf("got %+v, error %v", got, err)
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	e := openRoom(t, dir)
	if err := e.Acquire(); err != nil {
		t.Fatal(err)
	}
	e.Close()
	path := filepath.Join(dir, "room.key")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	fails := func(what, hint string) {
		t.Helper()
		e, err := localroom.Open(dir, localroom.Options{})
		if err == nil {
			err = e.Acquire()
			e.Close()
		}
		if err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	fails("a key that others read", "chmod 600")
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "canary", strings.Repeat("!", 44), strings.Repeat("x", 5000)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		fails("a bad key", "32 bytes")
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	fails("another key", localroom.ErrWrongKey.Error())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	fails("no key", "key file room.key is missing")

	// Put back, or given in another form, it fits.
	k, err := localroom.ParseKey(secret.New(good))
	if err != nil {
		t.Fatal(err)
	}
	e, err = localroom.Open(dir, localroom.Options{Key: k})
	if err == nil {
		err = e.Acquire()
		e.Close()
	}
	if err != nil {
		t.Error(err)
	}
}

func TestParseKey(t *testing.T) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(i * 7)
	}
	for _, text := range []string{
		base64.StdEncoding.EncodeToString(raw), base64.RawStdEncoding.EncodeToString(raw), hex.EncodeToString(raw),
		strings.ToUpper(hex.EncodeToString(raw)), " \n" + hex.EncodeToString(raw) + "\r\n",
	} {
		if k, err := localroom.ParseKey(value(text)); err != nil || string(k.Reveal()) != string(raw) {
			t.Errorf("%q: error %v", text, err)
		}
	}
	for _, text := range []string{"", "x", string(raw), strings.Repeat("z", 64), strings.Repeat("=", 44), hex.EncodeToString(raw[:31])} {
		if _, err := localroom.ParseKey(value(text)); err == nil || strings.Contains(err.Error(), "zz") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

func TestLongPath(t *testing.T) {
	_, err := localroom.Open(filepath.Join(t.TempDir(), strings.Repeat("d", 100)), localroom.Options{})
	if err == nil || !strings.Contains(err.Error(), "107") {
		t.Error(err)
	}
}

// A child is another process of a room, that stores secrets.
type child struct {
	*exec.Cmd
	stdin io.Closer

	reading      sync.WaitGroup
	mu           sync.Mutex
	changed      *sync.Cond
	acknowledged []string // ids that the room acknowledged
	ended        bool
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	c := &child{Cmd: exec.Command(os.Args[0])}
	c.changed = sync.NewCond(&c.mu)
	c.Env = append(os.Environ(), childVariable+"="+dir)
	c.Stderr = os.Stderr
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.stdin = stdin
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	c.reading.Go(func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			c.mu.Lock()
			c.acknowledged = append(c.acknowledged, lines.Text())
			c.changed.Broadcast()
			c.mu.Unlock()
		}
		c.mu.Lock()
		c.ended = true
		c.changed.Broadcast()
		c.mu.Unlock()
	})
	t.Cleanup(func() { _ = c.end(c.Process.Kill) })
	return c
}

// advance waits for so many more acknowledged secrets.
func (c *child) advance(t *testing.T, n int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	end := time.Now().Add(patience)
	defer time.AfterFunc(patience, c.changed.Broadcast).Stop()
	for goal := len(c.acknowledged) + n; len(c.acknowledged) < goal; c.changed.Wait() {
		if c.ended || time.Now().After(end) {
			t.Fatal("a participant ended by itself, or stores nothing more")
		}
	}
}

func (c *child) end(stop func() error) error {
	err := stop()
	c.reading.Wait()
	_ = c.Wait()
	return err
}

// Whatever the room acknowledged is there after kill -9 at any moment, of
// random participants and of the one that serves the room, and after one left
// in good order. The others go on each time.
func TestKill9AndTakeover(t *testing.T) {
	dir := t.TempDir()
	watcher := openRoom(t, dir)
	random := rand.New(rand.NewPCG(5, 6))
	var all, running []*child
	for round := range 6 {
		for len(running) < 4 {
			c := startChild(t, dir)
			all, running = append(all, c), append(running, c)
		}
		running[0].advance(t, random.IntN(100))
		leader := -1
		for leader < 0 {
			// Until all have come through what the round before did.
			for _, c := range running {
				c.advance(t, 1)
			}
			pid := localroom.LeaderPID(watcher)
			leader = slices.IndexFunc(running, func(c *child) bool { return c.Process.Pid == pid })
		}
		victim, stop := leader, running[leader].Process.Kill
		switch round % 3 {
		case 1:
			stop = running[leader].stdin.Close
		case 2:
			victim = random.IntN(len(running))
			stop = running[victim].Process.Kill
		}
		if err := running[victim].end(stop); err != nil {
			t.Error(err)
		}
		running = slices.Delete(running, victim, victim+1)
	}
	for _, c := range running {
		if err := c.end(c.Process.Kill); err != nil {
			t.Error(err)
		}
	}

	p, count := mustEnter(t, watcher, "ann"), 0
	for _, c := range all {
		for _, id := range c.acknowledged {
			count++
			if got := outcome(p.invoke(t.Context(), "secrets", "get_secret", getArguments(id))); got != id {
				t.Fatalf("%s was acknowledged and is %q", id, got)
			}
		}
	}
	t.Logf("%d acknowledged secrets are there", count)
}

func TestRequestsWhileTheLeaderCloses(t *testing.T) {
	dir := t.TempDir()
	first, second := openRoom(t, dir), openRoom(t, dir)
	if err := first.Acquire(); err != nil {
		t.Fatal(err)
	}
	p := mustEnter(t, second, "ann")
	closed := make(chan error)
	go func() { closed <- first.Close() }()
	for i := 0; ; i++ {
		if err := setSecret(t.Context(), p, fmt.Sprint(i), "v"); err != nil {
			break
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	p = mustEnter(t, second, "ann")
	if err := setSecret(t.Context(), p, "after", "v"); err != nil {
		t.Error(err)
	}
}

func TestHealthOverTheSocket(t *testing.T) {
	e := openRoom(t, t.TempDir())
	client := &http.Client{Transport: &http.Transport{DialContext: e.DialContext, DisableKeepAlives: true}}
	response, err := client.Get("http://room/")
	if err != nil || response.StatusCode != 200 {
		t.Fatal(response, err)
	}
	response.Body.Close()
}
