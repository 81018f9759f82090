package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata/script run the real binary as a user does. Beside
// testscript's own commands they have:
//
//	roomenv ARG...          the program
//	as NAME ARG...          the program with the token in NAME.jwt
//	child ARG...            a program to run under it, see child
//	exits CODE COMMAND...   runs a command that must end with that code
//	serve DATA [ADDR]       `roomenv room serve` in the background; sets ROOM_URL and SERVER, its ADDR
//	crash                   kills that server with SIGKILL
//	badroom MODE            a room that misbehaves, see badroom_test.go; sets ROOM_URL
//	badtoken DATA KIND VAR  a token that no room should take
//	damage FILE HOW         spoils a file
//	nul FILE                writes a NUL byte in between
//	big FILE SIZE           writes SIZE bytes of text
//	memory VAR              a new folder on a tmpfs, see files_test.go
//	killed SIGNAL ARG...    runs roomenv and kills it when its child has printed a line
//	requestid               sets ID to the id of the request that stdout shows
//	await FILE REGEXP [VAR] waits until the file has a line that matches; sets VAR to its first group
//	hosted                  puts what is like the hosted service at ROOM_URL
//	address VAR             sets a variable to an address where nobody listens
//	provider                sets PROVIDER to the URL of one of OAuth
//	pid                     sets PID to that of the last command in the background
//	status REGEXP           waits until `roomenv status --json` of it matches
//	storm ID VALUE...       a program that sets a secret to one value right after the other
//	refused CALL ARG...     runs ARG... where the kernel refuses that system call, by number; Linux only
//
// and the conditions root: the user is; and unshare: one may mount a tmpfs of one's own.
func TestMain(m *testing.M) {
	if os.Args[0] == selfPath {
		main() // as the monitor; testscript goes by names
	}
	testscript.Main(tests{m}, programs)
}

// programs are what scripts run as themselves. Those of one system are added there.
var programs = map[string]func(){
	"roomenv": main,
	"as":      as,
	"child":   child,
	"storm":   storm,
}

// tests has what the tests start begin with the default action of all signals, also
// where the tests run with some ignored, by nohup or a shell's &: what has a handler
// is not ignored after exec.
type tests struct{ *testing.M }

func (m tests) Run() int {
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	if testing.CoverMode() != "" && os.Getenv("GOCOVERDIR") == "" {
		// Without it programs with counters complain on stderr.
		dir, err := os.MkdirTemp("", "roomenv-cover-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		_ = os.Setenv("GOCOVERDIR", dir)
	}
	return m.M.Run()
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each process takes a second to end
			env.Setenv("ESC", "\x1b")
			env.Values[serving] = new(*exec.Cmd)
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "root":
				return os.Geteuid() == 0, nil
			case "unshare":
				return exec.Command("unshare", "-rm", "true").Run() == nil, nil
			}
			return false, errors.New("there is no such condition")
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":    exits,
			"serve":    serve,
			"crash":    crash,
			"badroom":  badroom,
			"badtoken": badtoken,
			"damage":   damage,
			"nul":      nul,
			"big":      big,
			"memory":   memory,
			"killed":   killed,

			"requestid": requestID,
			"await":     await,
			"hosted":    hostedRoom,
			"address":   address,
			"provider":  provider,
			"pid":       pid,
			"status":    awaitStatus,
		},
	})
}

func as() {
	token, err := os.ReadFile(os.Args[1] + ".jwt")
	if err != nil {
		panic(err)
	}
	_ = os.Setenv("MESHAGENT_TOKEN", strings.TrimSpace(string(token)))
	os.Args = append([]string{"roomenv"}, os.Args[2:]...)
	main()
}

var shownID = regexp.MustCompile(`"id":"([^"]+)"|requests answer (\S+)`)

func requestID(ts *testscript.TestScript, _ bool, _ []string) {
	found := shownID.FindStringSubmatch(ts.ReadFile("stdout"))
	if found == nil {
		ts.Fatalf("stdout shows no request")
	}
	ts.Setenv("ID", found[1]+found[2])
}

// child is a program to run under roomenv:
//
//	env NAME...   prints NAME=VALUE, quoted, or NAME is not set
//	exit CODE     ends with CODE
//	kill SIGNAL   ends by that signal, by number
//	cat           copies stdin to stdout
//	notify MESSAGE...   tells the service manager, with an open pipe
//	record LOG NAME...  writes to LOG what becomes of it, see recordEvents
//	get URL             prints status and body of an answer; a name that is no URL is
//	                    that of a client of the token endpoint
//	posts ADDR LOG      serves there, writes to LOG what is requested, and refuses the
//	                    first request
//	listen ADDR ARG...  listens there, and does what ARG... says
func child() {
	args := os.Args[1:]
	if args[0] == "listen" {
		listener, err := net.Listen("tcp", args[1])
		if err != nil {
			panic(err)
		}
		defer listener.Close()
		args = args[2:]
	}
	switch args[0] {
	case "env":
		for _, name := range args[1:] {
			if value, ok := os.LookupEnv(name); ok {
				fmt.Printf("%s=%q\n", name, value)
			} else {
				fmt.Printf("%s is not set\n", name)
			}
		}
	case "exit":
		code, _ := strconv.Atoi(args[1])
		os.Exit(code)
	case "kill":
		n, _ := strconv.Atoi(args[1])
		signal.Reset(syscall.Signal(n))
		_ = syscall.Kill(os.Getpid(), syscall.Signal(n))
		select {}
	case "get":
		get(args[1])
	case "posts":
		posts(args[1], args[2])
	case "notify":
		notifyService(args[1:])
	case "record":
		recordEvents(args[1], args[2:])
	case "cat":
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			fmt.Println(in.Text())
		}
	}
}

func posts(address, log string) {
	f, err := os.Create(log)
	if err != nil {
		panic(err)
	}
	refused := false
	panic(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !refused {
			refused = true
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(f, "%s %s\n", r.Method, r.URL.Path)
	})))
}

// exits runs a command and compares its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// serving is the name of the value of a script that is its server.
const serving = "server"

// serve starts a server and waits for its first line.
func serve(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: serve DATA [ADDR [FLAG...]]")
	}
	address := append(args, "127.0.0.1:0")[1]
	cmd := exec.Command("roomenv", "room", "serve", "--listen", address, "--data", ts.MkAbs(args[0]))
	cmd.Args = append(cmd.Args, args[min(2, len(args)):]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "HOME="+ts.Getenv("HOME"), "ROOMENV_ROOM_KEY="+ts.Getenv("ROOMENV_ROOM_KEY"),
		"MESHAGENT_API_KEY="+ts.Getenv("MESHAGENT_API_KEY"), "MESHAGENT_SECRET="+ts.Getenv("MESHAGENT_SECRET"))
	log, err := os.Create(ts.MkAbs("server.log"))
	ts.Check(err)
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = log.Close()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		ts.Fatalf("the server did not start: %v\n%s", err, ts.ReadFile("server.log"))
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening ")
	if !ok {
		ts.Fatalf("the first line of the server is %q", line)
	}
	ts.Setenv("ROOM_URL", url)
	ts.Setenv("SERVER", strings.TrimPrefix(url, "http://"))
	*ts.Value(serving).(**exec.Cmd) = cmd
}

// crash kills the server that serve started, as a power cut would.
func crash(ts *testscript.TestScript, _ bool, _ []string) {
	cmd := *ts.Value(serving).(**exec.Cmd)
	ts.Check(cmd.Process.Kill())
	_ = cmd.Wait()
}
