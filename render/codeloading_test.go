//go:build linux

package render_test

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/render"
)

// In these texts $DIR is an empty directory, and $RUN a program that makes the file
// $DIR/ran, as $LIB does, a shared library, when it is loaded.
var loaders = []struct {
	variable string // NAME=VALUE
	command  string // of sh, which has few other variables; exit 77 skips the row
	files    string // name, newline, content; separated by "\n--\n"
	program  string // that has to exist; "" for the first word of the command
}{
	{variable: `PATH=$DIR:/usr/bin:/bin`, command: `tool`, files: "tool\n#!/bin/sh\nexec $RUN", program: "sh"},
	{variable: `LD_PRELOAD=$LIB`, command: `env`, program: "cc"},
	{variable: `LD_AUDIT=$LIB`, command: `env`, program: "cc"},
	{variable: `BASH_ENV=$RUN`, command: `bash -c :`},
	{variable: `BASH_FUNC_ls%%=`, command: `env 'BASH_FUNC_ls%%=() { $RUN; }' bash -c ls`, program: "bash"}, // dash drops such a name
	{variable: `PROMPT_COMMAND=$RUN`, command: `bash --norc -i </dev/null`},
	{variable: `PS1=$($RUN)`, command: `bash --norc -i </dev/null`},
	{variable: `ENV=$RUN`, command: `dash -i </dev/null`},
	{variable: `ZDOTDIR=$DIR`, command: `zsh -c :`, files: ".zshenv\n$RUN"},
	{variable: `SHELL=$RUN`, command: `ssh -o ProxyCommand=true host`},

	{variable: `NODE_OPTIONS=--require $DIR/evil.js`, command: `node -e 0`, files: "evil.js\nrequire('child_process').execFileSync('$RUN')"},
	{variable: `NODE_PATH=$DIR`, command: `node -e 'require("evil")'`, files: "evil.js\nrequire('child_process').execFileSync('$RUN')"},
	{variable: `npm_config_script_shell=$RUN`, command: `npm --prefix $DIR run x`, files: `package.json` + "\n" + `{"scripts": {"x": "true"}}`},
	{variable: `Npm_Config_Script_Shell=$RUN`, command: `npm --prefix $DIR run x`, files: `package.json` + "\n" + `{"scripts": {"x": "true"}}`},
	{variable: `NPM_CONFIG_SCRIPT_SHELL=$RUN`, command: `npm --prefix $DIR run x`, files: `package.json` + "\n" + `{"scripts": {"x": "true"}}`},
	{variable: `PYTHONPATH=$DIR`, command: `python3 -c 0`, files: "sitecustomize.py\nimport os; os.system('$RUN')"},
	{variable: `PYTHONSTARTUP=$DIR/evil.py`, command: `python3 -i </dev/null`, files: "evil.py\nimport os; os.system('$RUN')"},
	{variable: `PYTHONBREAKPOINT=os.system`, command: `python3 -c 'breakpoint("$RUN")'`},
	{variable: `PYTHONUSERBASE=$DIR`, command: `d=$(python3 -m site --user-site) && mkdir -p $d && mv $DIR/evil.py $d/usercustomize.py && python3 -c 0`,
		files: "evil.py\nimport os; os.system('$RUN')", program: "python3"},
	{variable: `PERL5OPT=-I$DIR -Mevil`, command: `perl -e 0`, files: "evil.pm\nsystem('$RUN'); 1"},
	{variable: `PERL5LIB=$DIR`, command: `perl -Mevil -e 0`, files: "evil.pm\nsystem('$RUN'); 1"},
	{variable: `PERL5DB=BEGIN { system('$RUN') }`, command: `perl -d -e 0`},
	{variable: `RUBYOPT=-r$DIR/evil.rb`, command: `ruby -e 0`, files: "evil.rb\nsystem('$RUN')"},
	{variable: `LUA_INIT_5_4=os.execute('$RUN')`, command: `lua5.4 -e 'x = 0'`},
	{variable: `LUA_PATH=$DIR/?.lua`, command: `lua5.4 -e 'require "evil"'`, files: "evil.lua\nos.execute('$RUN')"},
	{variable: `PHPRC=$DIR`, command: `echo | php`, files: "php.ini\nauto_prepend_file=$DIR/evil.php\n--\nevil.php\n<?php system('$RUN');", program: "php"},
	{variable: `JAVA_TOOL_OPTIONS=-agentpath:$LIB`, command: `java -version`, program: "cc java"},
	{variable: `MAVEN_OPTS=-agentpath:$LIB`, command: `mvn -version`, program: "cc mvn"},
	{variable: `JAVA_HOME=$DIR`, command: `mvn -version`, files: "bin/java\n#!/bin/sh\nexec $RUN", program: "mvn"},
	{variable: `TCLLIBPATH=$DIR`, command: `echo 'package require evil' | tclsh`, files: "pkgIndex.tcl\nexec $RUN", program: "tclsh"},
	{variable: `AWKPATH=$DIR`, command: `gawk -f evil`, files: "evil\nBEGIN { system(\"$RUN\") }"},

	{variable: `MAKEFLAGS=--eval=$$(shell\ $RUN)`, command: `make -f /dev/null`},
	{variable: `MAKEFILES=$DIR/evil.mk`, command: `make -f /dev/null`, files: "evil.mk\n$(shell $RUN)"},
	{variable: `CC=$RUN`, command: `make -f /dev/null -C $DIR x`, files: "x.c\n", program: "make"},
	{variable: `CFLAGS=-fplugin=$LIB`, command: `make -f /dev/null -C $DIR x`, files: "x.c\n", program: "cc make"},
	{variable: `COMPILER_PATH=$DIR`, command: `gcc -c -o /dev/null $DIR/x.c`, files: "as\n#!/bin/sh\nexec $RUN\n--\nx.c\n"},
	{variable: `GOFLAGS=-toolexec=$RUN`, command: `HOME=$DIR go vet $DIR/x.go`, files: "x.go\npackage x", program: "go"},
	{variable: `GOENV=$DIR/env`, command: `HOME=$DIR go vet $DIR/x.go`, files: "x.go\npackage x\n--\nenv\nGOFLAGS=-toolexec=$RUN", program: "go"},
	{variable: `RUSTC_WRAPPER=$RUN`, command: `cargo -V || exit 77; CARGO_HOME=$DIR cargo build --offline --manifest-path $DIR/Cargo.toml`, files: cargo, program: "cargo"},
	{variable: `RUSTFLAGS=-Clinker=$RUN`, command: `cargo -V || exit 77; CARGO_HOME=$DIR cargo build --offline --manifest-path $DIR/Cargo.toml`, files: cargo, program: "cargo"},
	{variable: `CARGO_BUILD_RUSTC=$RUN`, command: `cargo -V || exit 77; CARGO_HOME=$DIR cargo build --offline --manifest-path $DIR/Cargo.toml`, files: cargo, program: "cargo"},
	{variable: `CMAKE_TOOLCHAIN_FILE=$DIR/evil.cmake`, command: `cmake -S $DIR -B $DIR/out`,
		files: "CMakeLists.txt\nproject(x NONE)\n--\nevil.cmake\nexecute_process(COMMAND $RUN)"},
	{variable: `TAR_OPTIONS=--checkpoint=1 --checkpoint-action=exec=$RUN`, command: `tar -cf /dev/null $RUN`},

	{variable: `GIT_SSH_COMMAND=$RUN`, command: `git ls-remote ssh://host/x`},
	{variable: `GIT_CONFIG_PARAMETERS='alias.x=!$RUN'`, command: `git x`},
	{variable: `GIT_DIR=$DIR`, command: `git x`, files: "config\n[alias]\nx = !$RUN\n--\nHEAD\nref: refs/heads/x\n--\nobjects/x\n\n--\nrefs/x\n"},
	{variable: `GIT_TEMPLATE_DIR=$DIR`, command: `git init -q x && git -C x -c user.name=x -c user.email=x commit -q --allow-empty -m x`, files: "hooks/pre-commit\n#!/bin/sh\nexec $RUN"},
	{variable: `GIT_SEQUENCE_EDITOR=$RUN`, command: `cd $DIR && git init -q . && export GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x && git commit -q --allow-empty -m x && git rebase -i --root`, program: "git"},
	{variable: `EDITOR=$RUN`, command: `cd $DIR && git init -q . && git config --edit`, program: "git"},
	{variable: `VISUAL=$RUN`, command: `cd $DIR && git init -q . && TERM=xterm git config --edit`, program: "git"},
	{variable: `SSH_ASKPASS=$RUN`, command: `printf 'protocol=https\nhost=x\n' | GIT_TERMINAL_PROMPT=0 git credential fill`, program: "git"},
	{variable: `HOME=$DIR`, command: `git x`, files: ".gitconfig\n[alias]\nx = !$RUN"},
	{variable: `XDG_CONFIG_HOME=$DIR`, command: `HOME=/none git x`, files: "git/config\n[alias]\nx = !$RUN", program: "git"},

	{variable: `LESSOPEN=|$RUN %s`, command: `less $RUN`},
	{variable: `BROWSER=$RUN`, command: `python3 -m webbrowser http://x`},
	{variable: `VIMINIT=silent !$RUN`, command: `vim --not-a-term -c q </dev/null`},
	{variable: `EXINIT=silent !$RUN`, command: `vim --not-a-term -c q </dev/null`},
	{variable: `RSYNC_RSH=$RUN`, command: `rsync host:x $DIR`},
	{variable: `WGETRC=$DIR/wgetrc`, command: `wget http://127.0.0.1:1/`, files: "wgetrc\nuse_askpass = $RUN"},
	{variable: `OPENSSL_CONF=$DIR/evil.cnf`, command: `openssl rand 1`, program: "cc openssl",
		files: "evil.cnf\nopenssl_conf = a\n[a]\nproviders = b\n[b]\nevil = c\n[c]\nmodule = $LIB\nactivate = 1"},
	{variable: `OPENSSL_MODULES=$DIR`, command: `ln -s $LIB $DIR/evil.so && openssl rand -provider evil 1`, program: "cc openssl"},
	{variable: `DBUS_SESSION_BUS_ADDRESS=unixexec:path=$RUN`, command: `dbus-send --session --dest=x.y / x.y`},
	{variable: `KUBECONFIG=$DIR/config`, command: `kubectl --request-timeout=1 get pods`, files: "config\n" +
		`{"apiVersion": "v1", "kind": "Config", "current-context": "x", "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
		"clusters": [{"name": "x", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "x", "user": {"exec":
		{"apiVersion": "client.authentication.k8s.io/v1", "command": "$RUN", "interactiveMode": "Never"}}}]}`},
	{variable: `AWS_CONFIG_FILE=$DIR/config`, command: `aws --region x sts get-caller-identity`, files: "config\n[default]\ncredential_process = $RUN"},
	{variable: `AWS_SHARED_CREDENTIALS_FILE=$DIR/config`, command: `aws --region x sts get-caller-identity`, files: "config\n[default]\ncredential_process = $RUN"},
	{variable: `DOCKER_CONFIG=$DIR`, command: `docker evil`, files: "cli-plugins/docker-evil\n#!/bin/sh\nexec $RUN"},
}

const cargo = "Cargo.toml\n[package]\nname = \"x\"\n--\nsrc/main.rs\nfn main() {}"

// TestLoaders has real programs run code that a variable names, and demands that such a
// variable is refused.
func TestLoaders(t *testing.T) {
	for _, l := range loaders {
		name, value, _ := strings.Cut(l.variable, "=")
		t.Run(name, func(t *testing.T) {
			m := file(entry(name, ref("a")))
			if _, err := (room{"a": "x"}).render(t, m); !errors.Is(err, render.ErrLoadsCode) {
				t.Errorf("a value of a room is not refused: %v", err)
			}
			program, _, _ := strings.Cut(l.command, " ")
			if l.program != "" {
				program = l.program
			}
			for p := range strings.FieldsSeq(program) {
				if _, err := exec.LookPath(p); err != nil {
					t.Skip(err)
				}
			}
			dir := t.TempDir()
			inDir := filepath.Join(dir, "dir")
			texts := strings.NewReplacer("$DIR", inDir, "$RUN", filepath.Join(dir, "run"), "$LIB", filepath.Join(dir, "lib.so"))
			write := func(name, content string, mode os.FileMode) {
				if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(texts.Replace(content)), mode)); err != nil {
					t.Fatal(err)
				}
			}
			write(filepath.Join(dir, "run"), "#!/bin/sh\n: >$DIR/ran\n", 0o700)
			if err := os.MkdirAll(inDir, 0o700); err != nil {
				t.Fatal(err)
			}
			if l.files != "" {
				for f := range strings.SplitSeq(l.files, "\n--\n") {
					name, content, _ := strings.Cut(f, "\n")
					write(filepath.Join(inDir, name), content, 0o700)
				}
			}
			if strings.Contains(value+l.files+l.command, "$LIB") {
				write(filepath.Join(dir, "lib.c"), "#include <fcntl.h>\n__attribute__((constructor)) static void ran(void) { open(\"$DIR/ran\", O_CREAT, 0600); }\n", 0o600)
				if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", filepath.Join(dir, "lib.so"), filepath.Join(dir, "lib.c")).CombinedOutput(); err != nil {
					t.Skipf("cc: %v %s", err, out)
				}
			}
			cmd := exec.Command("/bin/sh", "-c", texts.Replace(l.command))
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "RUSTUP_HOME=" + cmp.Or(os.Getenv("RUSTUP_HOME"), filepath.Join(os.Getenv("HOME"), ".rustup")), name + "=" + texts.Replace(value)}
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() == 77 {
				t.Skipf("%s", out)
			}
			if _, missing := os.Stat(filepath.Join(inDir, "ran")); missing != nil {
				t.Errorf("nothing ran: %v %s", err, out)
			}
		})
	}
}

// What a room is for stays allowed, whatever family its name is like.
func TestLoadsNoCode(t *testing.T) {
	for name := range strings.FieldsSeq(`
		GIT_TOKEN GIT_PASSWORD GIT_USERNAME GIT_AUTHOR_EMAIL NPM_TOKEN NPM_CONFIG__AUTH npm_config__auth CARGO_REGISTRY_TOKEN PYTHON_API_KEY
		FEATURE_FLAGS DATABASE_URL PGOPTIONS JAVA_VERSION NODE_ENV ENVIRONMENT HOMEPAGE KEY_PATH TLS_KEY_PATH GOOGLE_APPLICATION_CREDENTIALS
		HTTPS_PROXY SSL_CERT_FILE SSLKEYLOGFILE NODE_EXTRA_CA_CERTS PIP_INDEX_URL OPENAI_API_KEY AWS_SECRET_ACCESS_KEY LESSON EDITOR_KEY
	`) {
		if _, err := (room{"a": "x"}).render(t, file(entry(name, ref("a")))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file for a shell or a program that sets variables is no way around.
func TestLoadsCodeFromFile(t *testing.T) {
	for format, refused := range map[manifest.Format]bool{
		manifest.FormatDotenv: true, manifest.FormatShell: true, manifest.FormatJSON: false, manifest.FormatYAML: false,
	} {
		m := file(entry("SECRET", ref("a")))
		m.Files = []manifest.File{{Path: "p", Format: format, Entries: []manifest.Entry{entry("KEY", ref("a")), entry("NODE_OPTIONS", is("SECRET"))}}}
		_, err := room{"a": "x"}.render(t, m)
		if errors.Is(err, render.ErrLoadsCode) != refused || refused && (!strings.Contains(err.Error(), "set NODE_OPTIONS") || strings.Contains(err.Error(), "KEY")) {
			t.Errorf("%s: %v", format, err)
		}
	}
}
