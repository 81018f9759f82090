package containers

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// group is the fsGroup of a pod, by which its containers share files.
const group = 2000

// A pod is a sidecar, and programs that read its files.
type pod struct {
	*world
	secrets string
	flags   []string // of its containers
}

// newPod has the manifest and the memory of a pod. What its containers share is in flags.
func newPod(t *testing.T, manifest string, flags ...string) *pod {
	w := newWorld(t)
	w.write("roomenv.yaml", manifest)
	p := &pod{world: w, secrets: memory(t, group), flags: flags}
	return p
}

// sidecar starts the sidecar.
func (p *pod) sidecar(args ...string) (id string) {
	p.t.Helper()
	return start(p.t, slices.Concat([]string{"--user", "65532", "--group-add", fmt.Sprint(group), "--volume", p.secrets + ":/secrets"},
		hardened, p.flags, p.reach(), []string{image, "sidecar", "--dir", "/secrets/app", "--group", fmt.Sprint(group), "-m", "/manifests/roomenv.yaml"}, args)...)
}

// app starts a shell with a script, as a user of its own.
func (p *pod) app(user int, script string, flags ...string) (id string) {
	p.t.Helper()
	return start(p.t, slices.Concat([]string{"--user", fmt.Sprint(user), "--network", "host", "--volume", p.secrets + ":/secrets:ro"},
		hardened, p.flags, flags, []string{"localhost/app", "-c", script})...)
}

var inGroup = []string{"--group-add", fmt.Sprint(group)}

// awaitFile waits until a file has a content, as a container sees it.
func awaitFile(t *testing.T, id, path, want string) {
	t.Helper()
	await(t, path+" is "+want, func() bool {
		out, _, code := podman("exec", id, "cat", path)
		return code == 0 && out == want
	})
}

const twoFiles = "version: 1\nfiles: {key: {secret: key}, tls/cert: {secret: cert}}\nrefresh: {debounce: 10ms}\n"

// TestSidecar has programs of two users read what the sidecar of a third one writes, of
// which a fourth one, who is not of the group, sees nothing.
func TestSidecar(t *testing.T) {
	p := newPod(t, twoFiles)
	p.serve("127.0.0.1:0")
	p.set("key", "k1")
	p.set("cert", "c1")
	p.sidecar()
	const sleep = "trap 'exit 0' TERM; while :; do sleep 0.1; done"
	readers := []string{p.app(10001, sleep, inGroup...), p.app(10002, sleep, inGroup...)}
	outsider := p.app(10003, sleep)
	for _, key := range []string{"k1", "k2", "k3"} {
		p.set("key", key)
		for _, id := range readers {
			awaitFile(t, id, "/secrets/app/current/key", key)
			awaitFile(t, id, "/secrets/app/current/tls/cert", "c1")
		}
	}
	for _, script := range []string{"cat /secrets/app/current/key", "ls /secrets/app", "cat /secrets/app/*/key"} {
		if out, _, code := podman("exec", outsider, "sh", "-c", script); code == 0 {
			t.Errorf("%s: a user outside of the group gets %q", script, out)
		}
	}
	if got := must(t, "exec", readers[0], "sh", "-c", "stat -L -c '%a %u %g' /secrets/app /secrets/app/current /secrets/app/current/tls/cert"); got != "2750 65532 2000\n2750 65532 2000\n440 65532 2000" && got != "750 65532 2000\n750 65532 2000\n440 65532 2000" {
		t.Errorf("modes, owners and groups are\n%s", got)
	}
}

var rounds = flag.Int("rounds", 6, "how many times TestSidecarKilled kills the sidecar")

// TestSidecarKilled kills the sidecar, while it writes new files or with the room away,
// while a program opens pairs of files: it sees no gap, and no mixture.
func TestSidecarKilled(t *testing.T) {
	p := newPod(t, "version: 1\nfiles: {a: {secret: key}, b: {secret: key}}\nrefresh: {debounce: 10ms}\n")
	stop := p.serve("127.0.0.1:0")
	address := strings.TrimPrefix(p.url, "http://")
	p.set("key", "k0")
	sidecar := p.sidecar()
	await(t, "ready", func() bool {
		_, _, code := podman("exec", sidecar, "/roomenv", "ready", "--dir", "/secrets/app")
		return code == 0
	})
	reader := p.app(10001, `cd /secrets/app/current || exit 1
while cd -P /secrets/app/current && a=$(cat a) && b=$(cat b) && [ "$a" = "$b" ]; do :; done 2>&1; echo "stopped at $a, $b"; exit 1`, inGroup...)
	reads := func() {
		t.Helper()
		if must(t, "inspect", "--format", "{{.State.Running}}", reader) != "true" {
			t.Fatalf("the reader saw a gap: %s", must(t, "logs", reader))
		}
	}
	for i := range *rounds {
		value := fmt.Sprintf("k%d", i+1)
		away := i%2 == 1
		if away {
			stop()
		} else {
			p.set("key", value)
		}
		must(t, "kill", "--signal", "KILL", sidecar)
		must(t, "wait", sidecar)
		reads()
		must(t, "start", sidecar)
		if away {
			stop = p.serve(address)
			p.set("key", value)
		}
		awaitFile(t, reader, "/secrets/app/current/a", value)
		reads()
	}
	must(t, "stop", "--time", "10", sidecar)
	if code := must(t, "inspect", "--format", "{{.State.ExitCode}}", sidecar); code != "0" {
		t.Errorf("exit code %s after TERM", code)
	}
	reads()
}

// TestNotify has the sidecar signal a program across containers: once for each change.
func TestNotify(t *testing.T) {
	name := must(t, podCreate(t)...)
	t.Cleanup(func() { podman("pod", "rm", "--force", "--time", "0", name) })
	p := newPod(t, "version: 1\nfiles: {key: {secret: key}}\nrefresh: {debounce: 10ms}\n", "--pod", name)
	p.serve("127.0.0.1:0")
	p.set("key", "k0")
	sidecar := p.sidecar("--notify", "cmd=sh")
	// Signals need the same user without CAP_KILL.
	app := p.app(65532, `trap 'echo hup $(cat /secrets/app/current/key)' HUP; trap 'exit 0' TERM
until [ -e /secrets/app/current/key ]; do sleep 0.05; done; echo started; while :; do sleep 0.05; done`, inGroup...)
	await(t, "the program runs", func() bool { return strings.HasSuffix(must(t, "logs", app), "started") })
	want := "started"
	for i := range 5 {
		value := fmt.Sprintf("k%d", i+1)
		p.set("key", value)
		want += "\nhup " + value
		await(t, want, func() bool { return must(t, "logs", app) == want })
	}
	if out, errs, _ := podman("logs", sidecar); out+errs != "" {
		t.Errorf("the sidecar prints %q, %q", out, errs)
	}
	must(t, "restart", "--time", "5", app)
	await(t, "the program runs again", func() bool { return strings.Count(must(t, "logs", app), "started") == 2 })
	p.set("key", "k9")
	await(t, "a signal to the new process", func() bool { return strings.HasSuffix(must(t, "logs", app), "started\nhup k9") })
}

func podCreate(t *testing.T) []string {
	newWorld(t) // skips
	return []string{"pod", "create", "--network", "host", "--share", "pid"}
}

// TestJob ends a sidecar with the program that it is for.
func TestJob(t *testing.T) {
	name := must(t, podCreate(t)...)
	t.Cleanup(func() { podman("pod", "rm", "--force", "--time", "0", name) })
	p := newPod(t, "version: 1\nfiles: {key: {secret: key}}\n", "--pod", name)
	p.serve("127.0.0.1:0")
	p.set("key", "k0")
	sidecar := p.sidecar("--exit-with", "cmd=sh")
	app := p.app(10001, `until [ -e /secrets/app/current/key ]; do sleep 0.05; done; cat /secrets/app/current/key; sleep 0.5; exit 3`, inGroup...)
	for id, want := range map[string]string{app: "3", sidecar: "0"} {
		if got := must(t, "wait", id); got != want {
			t.Errorf("exit code %s, want %s", got, want)
		}
	}
	if got := must(t, "logs", app); got != "k0" {
		t.Errorf("the job printed %q", got)
	}
}

// TestProbes looks at the probes of a pod while the room is away, and when it is there,
// while a value is revoked, and while the sidecar is down.
func TestProbes(t *testing.T) {
	p := newPod(t, twoFiles)
	stop := p.serve("127.0.0.1:0")
	address := strings.TrimPrefix(p.url, "http://")
	p.set("key", "k1")
	p.set("cert", "c1")
	p.reach() // signs the token, while the room is there
	stop()
	sidecar := p.sidecar()
	probe := func(args ...string) int {
		_, _, code := podman(append([]string{"exec", sidecar, "/roomenv", "ready", "--dir", "/secrets/app"}, args...)...)
		return code
	}
	await(t, "alive while the room is away", func() bool { return probe("--live") == 0 })
	if probe() != 1 {
		t.Error("ready while the room is away, without files")
	}
	stop = p.serve(address)
	await(t, "ready", func() bool { return probe() == 0 })
	p.roomenv("secret", "delete", "key", "--for-identity", "pod")
	await(t, "not ready without a required value", func() bool { return probe() == 1 })
	if probe("--live") != 0 {
		t.Error("not alive")
	}
	app := p.app(10001, "trap 'exit 0' TERM; while :; do sleep 0.1; done", inGroup...)
	await(t, "the revoked file is gone", func() bool {
		_, _, code := podman("exec", app, "test", "!", "-e", "/secrets/app/current/key")
		return code == 0
	})
	awaitFile(t, app, "/secrets/app/current/tls/cert", "c1")
	p.set("key", "k2")
	await(t, "ready again", func() bool { return probe() == 0 })
	stop()
	if probe() != 0 {
		t.Error("not ready with the last known values")
	}
	// The group of the pod may ask too, with its own copy.
	member := slices.Concat([]string{"run", "--rm", "--user", "10001", "--volume", p.secrets + ":/secrets:ro"}, hardened)
	if _, errs, code := podman(slices.Concat(member, inGroup, []string{image, "ready", "--dir", "/secrets/app"})...); code != 0 {
		t.Errorf("another container of the pod: exit code %d, %s", code, errs)
	}
	if _, _, code := podman(slices.Concat(member, []string{image, "ready", "--dir", "/secrets/app"})...); code == 0 {
		t.Error("a user outside of the group gets an answer")
	}
}

// TestRender has an init container hand its files over to a sidecar: an unchanged value
// makes no revision, and so no signal.
func TestRender(t *testing.T) {
	p := newPod(t, twoFiles)
	p.serve("127.0.0.1:0")
	p.set("key", "k1")
	p.set("cert", "c1")
	render := func() int {
		_, errs, code := podman(slices.Concat([]string{"run", "--rm", "--user", "65532", "--group-add", fmt.Sprint(group), "--volume", p.secrets + ":/secrets"}, hardened, p.reach(),
			[]string{image, "render", "--dir", "/secrets/app", "--group", fmt.Sprint(group), "-m", "/manifests/roomenv.yaml"})...)
		if errs != "" {
			t.Logf("render: %s", errs)
		}
		return code
	}
	if code := render(); code != 0 {
		t.Fatalf("render: exit code %d", code)
	}
	app := p.app(10001, "readlink /secrets/app/current; trap 'exit 0' TERM; while :; do sleep 0.1; done", inGroup...)
	awaitFile(t, app, "/secrets/app/current/key", "k1")
	sidecar := p.sidecar()
	await(t, "ready", func() bool {
		_, _, code := podman("exec", sidecar, "/roomenv", "ready", "--dir", "/secrets/app")
		return code == 0
	})
	if before, after := must(t, "logs", app), must(t, "exec", app, "readlink", "/secrets/app/current"); before != after {
		t.Errorf("%s became %s", before, after)
	}
	p.set("key", "k2")
	awaitFile(t, app, "/secrets/app/current/key", "k2")
	must(t, "stop", "--time", "10", sidecar)
	p.roomenv("secret", "delete", "key", "--for-identity", "pod")
	if code := render(); code != 125 {
		t.Errorf("render without a required value: exit code %d", code)
	}
}

// TestToken replaces the token as Kubernetes does: all files of a volume at once, by a
// link. What the new identity has is written.
func TestToken(t *testing.T) {
	p := newPod(t, "version: 1\nfiles: {key: {secret: key}}\nrefresh: {debounce: 10ms}\n")
	p.serve("127.0.0.1:0")
	p.set("key", "of pod")
	p.roomenv("secret", "set", "key", "--text", "of other", "--for-identity", "other")
	volume := filepath.Join(p.dir, "manifests")
	swap := func(revision, identity string) {
		t.Helper()
		token := p.roomenv("room", "token", "--room", "default", "--identity", identity)
		err := errors.Join(
			os.Mkdir(filepath.Join(volume, revision), 0o755),
			os.WriteFile(filepath.Join(volume, revision, "token"), []byte(token), 0o644),
			os.Symlink(revision, filepath.Join(volume, "..new")),
			os.Rename(filepath.Join(volume, "..new"), filepath.Join(volume, "..data")),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	swap("..1", "pod")
	if err := os.Symlink("..data/token", filepath.Join(volume, "projected")); err != nil {
		t.Fatal(err)
	}
	p.sidecar("--token-file", "/manifests/projected")
	app := p.app(10001, "trap 'exit 0' TERM; while :; do sleep 0.1; done", inGroup...)
	awaitFile(t, app, "/secrets/app/current/key", "of pod")
	swap("..2", "other")
	awaitFile(t, app, "/secrets/app/current/key", "of other")
}

// TestPending has probes of a command that waits for a participant.
func TestPending(t *testing.T) {
	p := newPod(t, "version: 1\nenv: {KEY: \"room:request/alice?url=https://stripe.com&type=text/plain\"}\n")
	p.serve("127.0.0.1:0")
	id := start(t, slices.Concat([]string{"--mount", "type=image,source=" + image + ",destination=/opt/roomenv", "--volume", memory(t, 0) + ":/run/roomenv"},
		[]string{"--user", "0"}, hardened, p.reach(),
		[]string{"--entrypoint", "/opt/roomenv/roomenv", "localhost/app", "exec", "-m", "/manifests/roomenv.yaml", "--", "sh", "-c", "echo started"})...)
	await(t, "alive while alice is asked", func() bool {
		_, _, code := podman("exec", id, "/opt/roomenv/roomenv", "ready", "--live")
		return code == 0
	})
	if _, errs, code := podman("exec", id, "/opt/roomenv/roomenv", "ready"); code != 1 || !strings.Contains(errs, "not ready") {
		t.Errorf("ready while alice is asked: exit code %d, %q", code, errs)
	}
	must(t, "stop", "--time", "10", id)
	if code := must(t, "inspect", "--format", "{{.State.ExitCode}}", id); code != "143" || must(t, "logs", id) != "" {
		t.Errorf("exit code %s after TERM, %q", code, must(t, "logs", id))
	}
}

// TestFull has a value that does not fit the volume: the files before it stay, until one
// does.
func TestFull(t *testing.T) {
	p := newPod(t, "version: 1\nfiles: {key: {secret: key}}\nrefresh: {debounce: 10ms}\n")
	p.serve("127.0.0.1:0")
	p.set("key", "small")
	sidecar := p.sidecar()
	app := p.app(10001, "trap 'exit 0' TERM; while :; do sleep 0.1; done", inGroup...)
	awaitFile(t, app, "/secrets/app/current/key", "small")
	large := filepath.Join(p.dir, "large")
	if err := os.WriteFile(large, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	p.roomenv("secret", "set", "key", "--from-file", large, "--for-identity", "pod")
	await(t, "the sidecar says that the volume is full", func() bool {
		_, errs, _ := podman("logs", sidecar)
		return strings.Contains(errs, "no space left on device")
	})
	awaitFile(t, app, "/secrets/app/current/key", "small")
	p.set("key", "smaller")
	awaitFile(t, app, "/secrets/app/current/key", "smaller")
}
