package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/roomenv/roomenv/inject"
	"github.com/roomenv/roomenv/internal/hosted"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

// recordEvents is the child that writes down what becomes of it, a line each, until
// SIGTERM ends it:
//
//	start NAME="VALUE"...   of NAME_FILE, what is in that file
//	SIGNAL NAME="VALUE"...  the same for SIGHUP and SIGUSR1
//	end
func recordEvents(log string, names []string) {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	event := "start"
	for {
		line := event
		for _, name := range names {
			value, ok := os.LookupEnv(name)
			switch {
			case !ok:
				line += " " + name
				continue
			case strings.HasSuffix(name, "_FILE"):
				b, _ := os.ReadFile(value)
				value = string(b)
			}
			line += fmt.Sprintf(" %s=%q", name, value)
		}
		note(log, line)
		sig := <-signals
		if sig == syscall.SIGTERM {
			break
		}
		event = sig.String()
	}
	note(log, "end")
}

// note appends a line at once, as several children may.
func note(log, line string) {
	f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(line + "\n")
		_ = f.Close()
	}
	if err != nil {
		panic(err)
	}
}

// waitLimit is how long a test waits for any one thing before it fails.
const waitLimit = 10 * time.Second

// await waits until a file has a line that matches.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: await FILE REGEXP [VAR]")
	}
	file, line := ts.MkAbs(args[0]), regexp.MustCompile("(?m)"+args[1])
	changes, err := fsnotify.NewWatcher()
	ts.Check(err)
	defer changes.Close()
	ts.Check(changes.Add(filepath.Dir(file)))
	limit := time.After(waitLimit)
	for {
		text, _ := os.ReadFile(file)
		if found := line.FindSubmatch(text); found != nil {
			if len(args) == 3 {
				ts.Setenv(args[2], string(found[1]))
			}
			return
		}
		select {
		case <-changes.Events:
		case err := <-changes.Errors:
			ts.Fatalf("%v", err)
		case <-limit:
			ts.Fatalf("no line of %s matches %s within %v:\n%s", args[0], args[1], waitLimit, text)
		}
	}
}

// hostedRoom makes the room at ROOM_URL one that does not tell of changes.
func hostedRoom(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: hosted")
	}
	proxy := &hosted.Proxy{Upstream: ts.Getenv("ROOM_URL")}
	server := httptest.NewServer(proxy)
	ts.Defer(func() {
		server.CloseClientConnections()
		server.Close()
	})
	ts.Setenv("ROOM_URL", server.URL)
}

// address sets a variable to an address where nobody listens.
func address(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: address VAR")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], listener.Addr().String())
	ts.Check(listener.Close())
}

// provider is an OAuth provider that gives another token each time, for any code.
func provider(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: provider")
	}
	var given atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": "at-%d", "token_type": "Bearer", "expires_in": 1, "refresh_token": "r"}`, given.Add(1))
	}))
	ts.Defer(server.Close)
	ts.Setenv("PROVIDER", server.URL)
}

// get prints an answer over HTTP.
func get(url string) {
	if !strings.Contains(url, ":") {
		url = os.Getenv("ROOMENV_TOKEN_URL") + url
	}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", os.Getenv("ROOMENV_TOKEN_AUTHORIZATION"))
	client := http.Client{Timeout: waitLimit}
	if socket := os.Getenv("ROOMENV_TOKEN_SOCKET"); socket != "" {
		client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}
	}
	response, err := client.Do(request)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	fmt.Println(response.StatusCode)
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		panic(err)
	}
}

// pid sets PID to that of the last command in the background.
func pid(ts *testscript.TestScript, neg bool, args []string) {
	running := ts.BackgroundCmds()
	if neg || len(args) != 0 || len(running) == 0 {
		ts.Fatalf("usage: pid, after a command in the background")
	}
	ts.Setenv("PID", strconv.Itoa(running[len(running)-1].Process.Pid))
}

// awaitStatus waits until `roomenv status` of the process PID shows something. Of
// what it shows nobody tells, so that it is asked again and again.
func awaitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: status REGEXP")
	}
	wanted := regexp.MustCompile("(?m)" + args[0])
	for limit := time.Now().Add(waitLimit); ; time.Sleep(10 * time.Millisecond) {
		show := exec.Command("roomenv", "status", "--json", "--pid", ts.Getenv("PID"))
		show.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+ts.Getenv("XDG_RUNTIME_DIR"))
		text, err := show.CombinedOutput()
		switch {
		case wanted.Match(text):
			return
		case time.Now().After(limit):
			ts.Fatalf("the status does not match %s within %v: %v\n%s", args[0], waitLimit, err, text)
		}
	}
}

// storm is a program that sets a secret to one value right after the other.
func storm() {
	a := app{signals: new(inject.Signals)}
	if err := a.init(newSecret(&a)); err != nil {
		panic(err)
	}
	err := a.withSecrets(context.Background(), func(ctx context.Context, s *room.Secrets) error {
		for _, value := range os.Args[2:] {
			if err := s.Set(ctx, room.NewSecret{ID: os.Args[1], Value: secret.New([]byte(value))}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
}
