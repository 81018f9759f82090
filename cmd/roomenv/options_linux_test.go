package main

import (
	"encoding/json"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/roomtest"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// The modes of exec that an option meets.
const (
	once     = "once"     // --once
	plain    = "plain"    // a manifest without references
	embedded = "embedded" // a local room
	served   = "served"   // a room on the network
	waiting  = "waiting"  // a local room, and a request that nobody answers
)

// An option is a flag or a key of YAML, which takes effect in each mode or is an error.
// script shows that, on stdout or stderr. want is for the modes that are not in but.
type option struct {
	args   string
	yaml   string
	script string
	want   string
	but    map[string]string
}

// supervised is for an option that --once has no use for.
func supervised(name string) map[string]string {
	return map[string]string{once: "^roomenv: --once cannot be combined with " + name}
}

// masks is for what has nothing to do without references.
func masks(name string) map[string]string {
	but := supervised(name)
	but[plain] = "^$"
	return but
}

// fetches is for a flag that is about references.
func fetches(name string) map[string]string {
	return map[string]string{plain: "^roomenv: " + name + " requires a reference in the manifest\n"}
}

const (
	inherits = `echo "<$LEFT>"`
	loads    = `echo "<$NODE_OPTIONS>"`
	crashes  = `test -e crashed && exit; touch crashed; exit 3`
	stops    = `trap "echo got USR1; exit" USR1; kill -TERM $PPID; while :; do sleep 0.01; done`
	remains  = `trap "" TERM; kill -TERM $PPID; while :; do sleep 0.01; done`
)

var flagOptions = map[string]option{
	"--allow":              {args: "--allow NODE_OPTIONS -m loads.env", script: loads, want: "^<sk-hunter2>$", but: map[string]string{plain: "^<>$"}},
	"--dir":                {args: "--dir $MEMORY/named", script: "echo $CREDENTIALS_DIRECTORY", want: "/named/current$", but: supervised("--dir")},
	"--listen":             {args: "--listen $ADDRESS", script: "child get http://$ADDRESS/healthz", want: "^200$", but: supervised("--listen")},
	"--manifest":           {args: "-m more.env", script: "echo $MORE", want: "^more$"},
	"--mask":               {args: "--mask", script: "echo $KEY", want: `^\[KEY\]$`, but: masks("--mask")},
	"--no-new-privs":       {args: "--no-new-privs", script: "grep NoNewPrivs /proc/self/status", want: `^NoNewPrivs:\s1$`},
	"--once":               {args: "--once", script: "[ $PPID = $TEST ] && echo replaced", want: "^replaced$"},
	"--pristine":           {args: "--pristine", script: inherits, want: "^<>$"},
	"--restart-on-failure": {args: "--restart-on-failure", script: crashes, want: "^exit 0$", but: supervised("--restart-on-failure")},
	"--room":               {args: "--room other", script: "echo $KEY", want: "^elsewhere$|other", but: fetches("--room")},
	"--stop-signal":        {args: "--stop-signal USR1", script: stops, want: "^got USR1$", but: supervised("--stop-signal")},
	"--stop-timeout":       {args: "--stop-timeout 10ms", script: remains, want: "^exit 137$", but: supervised("--stop-timeout")},
	"--strip":              {args: "--strip LEFT", script: inherits, want: "^<>$"},
	"--token-file":         {args: "--token-file none.jwt", script: "echo $KEY", want: "none.jwt|missing room name", but: fetches("--token-file")},
	"--token-server":       {args: "--token-server", script: "echo $ROOMENV_TOKEN_URL", want: "^http://127.0.0.1:", but: supervised("--token-server")},
	"--wait":               {args: "--wait 1m", script: "echo $KEY", want: "^sk-hunter2$", but: fetches("--wait")},
	"--user":               {args: "--user 65534:65534", script: "id -u", want: "^65534$"},
}

var keyOptions = map[string]option{
	"exec.mask":               {yaml: "exec: {mask: true}", script: "echo $KEY", want: `^\[KEY\]$`, but: masks("mask")},
	"exec.pristine":           {yaml: "exec: {pristine: true}", script: inherits, want: "^<>$"},
	"exec.strip":              {yaml: "exec: {strip: [LEFT]}", script: inherits, want: "^<>$"},
	"exec.allow":              {yaml: "exec: {allow: [NODE_OPTIONS]}", args: "-m loads.env", script: loads, want: "^<sk-hunter2>$", but: map[string]string{plain: "^<>$"}},
	"exec.stop_signal":        {yaml: "exec: {stop_signal: USR1}", script: stops, want: "^got USR1$", but: supervised("stop_signal")},
	"exec.stop_timeout":       {yaml: "exec: {stop_timeout: 10ms}", script: remains, want: "^exit 137$", but: supervised("stop_timeout")},
	"exec.restart_on_failure": {yaml: "exec: {restart_on_failure: true}", script: crashes, want: "^exit 0$", but: supervised("restart_on_failure")},
}

// changeKeys are about changes, of which there are none with --once. In the other modes
// they have scripts of their own: rotate, overlap, stale, revoked, storm_timing.
var changeKeys = map[string]string{
	"exec.on_change":     "exec: {on_change: none}",
	"exec.restart":       "exec: {restart: overlap}",
	"exec.ready":         "exec: {ready: {tcp: \":1\"}, restart: overlap}",
	"refresh.interval":   "refresh: {interval: 1m}",
	"refresh.debounce":   "refresh: {debounce: 1s}",
	"refresh.max_wait":   "refresh: {max_wait: 1m}",
	"refresh.max_stale":  "refresh: {max_stale: 1m}",
	"refresh.on_stale":   "refresh: {max_stale: 1m, on_stale: exit}",
	"refresh.then":       "refresh: {max_stale: 1m, then: exit}",
	"refresh.on_revoked": "refresh: {on_revoked: keep}",
}

// entryKeys are those of an entry or a reference that are about changes.
var entryKeys = map[string]string{
	"on_change of A":   "env: {A: {value: a, on_change: none}}",
	"on_change of KEY": "env: {KEY: \"room:secret/key?on_change=restart\"}",
	"max_stale of A":   "env: {A: {secret: key, max_stale: 1m}}",
	"on_revoked of A":  "env: {A: {secret: key, on_revoked: keep}}",
}

// TestOptions meets each option of exec in each mode.
func TestOptions(t *testing.T) {
	t.Parallel()
	missing := map[string]bool{}
	newExec(new(app), nil).LocalFlags().VisitAll(func(f *pflag.Flag) { missing["--"+f.Name] = true })
	var schema struct {
		Defs map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	if err := json.Unmarshal(manifest.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, section := range []string{"exec", "refresh"} {
		for key := range schema.Defs[section].Properties {
			missing[section+"."+key] = true
		}
	}
	world := newOptionWorld(t)
	all := maps.Clone(flagOptions)
	maps.Copy(all, keyOptions)
	for name, o := range all {
		if !missing[name] {
			t.Errorf("exec has no %s", name)
		}
		delete(missing, name)
		for _, mode := range []string{once, plain, embedded, served, waiting} {
			t.Run(name+"/"+mode, func(t *testing.T) { world.try(t, name, mode, o) })
		}
	}
	change := maps.Clone(changeKeys)
	for key := range changeKeys {
		if !missing[key] {
			t.Errorf("there is no %s", key)
		}
		delete(missing, key)
	}
	maps.Copy(change, entryKeys)
	for key, yaml := range change {
		t.Run(key+"/once", func(t *testing.T) {
			name := key[strings.Index(key, ".")+1:]
			if name == "then" {
				name = "max_stale"
			}
			world.try(t, name, once, option{yaml: yaml, script: "echo started", but: supervised("(max_stale|" + name + ")")})
		})
	}
	if len(missing) > 0 {
		t.Errorf("not tried: %q", slices.Sorted(maps.Keys(missing)))
	}
}

// An optionWorld has a room of each kind with a secret.
type optionWorld struct {
	rooms *roomtest.Server
	home  string
}

func newOptionWorld(t *testing.T) *optionWorld {
	w := &optionWorld{rooms: roomtest.New(t), home: t.TempDir()}
	if err := w.rooms.Dial("demo", "agent").Secrets().Set(t.Context(), room.NewSecret{ID: "key", Value: secret.New([]byte("sk-hunter2"))}); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"default": "sk-hunter2", "other": "elsewhere"} {
		cmd := exec.Command("roomenv", "secret", "set", "key", "--text", value, "--room", name)
		cmd.Env = append(os.Environ(), "HOME="+w.home)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return w
}

func (w *optionWorld) try(t *testing.T, name, mode string, o option) {
	t.Parallel()
	if name == "--user" && os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	dir := t.TempDir()
	memory, err := os.MkdirTemp("/dev/shm", "roomenv-options-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	base := map[string]string{
		once: "KEY=room:secret/key\n", embedded: "KEY=room:secret/key\n", served: "KEY=room:secret/key\n", plain: "KEY=\n",
		waiting: "KEY=room:secret/key\nLATER=room:request/nobody?url=x&type=text/plain&optional=true\n",
	}[mode]
	loads := "NODE_OPTIONS=room:secret/key\n"
	if mode == plain {
		loads = "LOADED=\n"
	}
	for file, text := range map[string]string{"base.env": base, "loads.env": loads, "more.env": "MORE=more\n", "more.yaml": "version: 1\n" + o.yaml + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	args := []string{"exec", "-m", "base.env", "-m", "more.yaml"}
	if mode == once && name != "--once" {
		args = append(args, "--once")
	}
	args = append(args, strings.Fields(strings.NewReplacer("$MEMORY", memory, "$ADDRESS", address).Replace(o.args))...)
	cmd := exec.Command("roomenv", append(args, "--", "sh", "-c", o.script)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+w.home, "LEFT=left", "ADDRESS="+address, "TEST="+strconv.Itoa(os.Getpid()), "XDG_RUNTIME_DIR="+memory)
	if mode == served {
		signed := w.rooms.Token(token.Token{Name: "agent", Room: "demo", API: token.UserScope()})
		cmd.Env = append(cmd.Env, "MESHAGENT_ROOM=demo", "MESHAGENT_ROOM_URL="+w.rooms.URL, "MESHAGENT_TOKEN="+string(signed.Reveal()))
	}
	out, _ := cmd.CombinedOutput()
	text := string(out) + "exit " + strconv.Itoa(cmd.ProcessState.ExitCode()) + "\n"
	want, ok := o.but[mode]
	if !ok {
		want = o.want
	}
	if !regexp.MustCompile("(?m)" + want).MatchString(text) {
		t.Errorf("%s\ngot:\n%swant %s", cmd, text, want)
	}
}
