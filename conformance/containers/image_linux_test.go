package containers

import (
	"slices"
	"strings"
	"testing"
)

const image = "localhost/roomenv"

func TestImage(t *testing.T) {
	newWorld(t)
	for _, arch := range []string{"amd64", "arm64"} {
		for _, test := range []struct{ format, want string }{
			{"{{.Os}}/{{.Architecture}}", "linux/" + arch},
			{"{{.User}}", "65532:65532"},
			{`{{index .Labels "org.opencontainers.image.version"}}`, "v0.0.0-image"},
			{`{{index .Labels "org.opencontainers.image.title"}}`, "roomenv"},
			{`{{index .Labels "org.opencontainers.image.licenses"}}`, "Apache-2.0"},
			{`{{index .Labels "org.opencontainers.image.source"}}`, "https://github.com/roomenv/roomenv"},
		} {
			if got := must(t, "image", "inspect", "--format", test.format, image+":"+arch); got != test.want {
				t.Errorf("%s: %s is %q, want %q", arch, test.format, got, test.want)
			}
		}
	}
	if got := must(t, slices.Concat([]string{"run", "--rm"}, hardened, []string{image, "version"})...); !strings.HasPrefix(got, "roomenv v0.0.0-image ") {
		t.Errorf("the version is %q", got)
	}
}

// TestExec runs roomenv as the first process of a container of another image, into which
// it is mounted.
func TestExec(t *testing.T) {
	w := newWorld(t)
	w.serve("127.0.0.1:0")
	w.set("key", "sk-hunter2")
	w.write(".env.room", "KEY=room:secret/key\n")
	run := slices.Concat([]string{"run", "--rm", "--mount", "type=image,source=" + image + ",destination=/opt/roomenv"}, hardened, w.reach(),
		[]string{"--entrypoint", "/opt/roomenv/roomenv", "localhost/app", "exec", "-m", "/manifests/.env.room"})
	for _, test := range []struct {
		flags, command []string
		stdout         string
		code           int
	}{
		{nil, []string{"sh", "-c", "echo $KEY $(id -u) $PPID; grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | tr '\t' ' '; exit 42"}, "sk-hunter2 10001 1\nCapEff: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\n", 42},
		{nil, []string{"sh", "-c", "kill -KILL $$"}, "", 137},
		{nil, []string{"no-such-command"}, "", 127},
		{[]string{"--mask"}, []string{"sh", "-c", "echo key $KEY"}, "key [KEY]\n", 0},
		{[]string{"--once"}, []string{"sh", "-c", "echo $KEY $$"}, "sk-hunter2 1\n", 0},
		{[]string{"--user", "10002"}, []string{"true"}, "", 125},
	} {
		stdout, stderr, code := podman(slices.Concat(run, test.flags, []string{"--"}, test.command)...)
		if stdout != test.stdout || code != test.code {
			t.Errorf("%q: got %q, %d, want %q, %d\n%s", test.command, stdout, code, test.stdout, test.code, stderr)
		}
	}
}

// TestExecUser runs the command as another user, with the capabilities that the
// documentation names: files, signals and the removal of the files need no others.
func TestExecUser(t *testing.T) {
	w := newWorld(t)
	w.serve("127.0.0.1:0")
	w.set("key", "sk-hunter2")
	w.write("roomenv.yaml", "version: 1\nfiles: {tls/key: {secret: key, env: KEY}}\n")
	secrets := memory(t, 0)
	run := func(capabilities string, args ...string) string {
		return start(t, slices.Concat([]string{"--user", "0", "--mount", "type=image,source=" + image + ",destination=/opt/roomenv", "--volume", secrets + ":/run/roomenv"},
			hardened, []string{"--cap-add", capabilities}, w.reach(), []string{
				"--entrypoint", "/opt/roomenv/roomenv", "localhost/app", "exec", "-m", "/manifests/roomenv.yaml", "--user", "10002:10002", "--"}, args)...)
	}
	id := run("CHOWN,SETUID,SETGID,KILL", "sh", "-c", `trap 'echo term; exit 3' TERM; echo $(id -u) $(cat $KEY); while :; do sleep 0.05; done`)
	await(t, "the command runs", func() bool { return must(t, "logs", id) == "10002 sk-hunter2" })
	must(t, "stop", "--time", "20", id)
	if code := must(t, "inspect", "--format", "{{.State.ExitCode}}", id); code != "3" || must(t, "logs", id) != "10002 sk-hunter2\nterm" {
		t.Errorf("exit code %s, %q", code, must(t, "logs", id))
	}
	id = run("CHOWN,SETUID,SETGID", "sh", "-c", "echo started")
	if code := must(t, "wait", id); code != "125" {
		t.Errorf("without KILL: exit code %s", code)
	}
	if out, errs, _ := podman("logs", id); out != "" || !strings.Contains(errs, "CAP_KILL to signal it") {
		t.Errorf("without KILL: %q, %q", out, errs)
	}
}
