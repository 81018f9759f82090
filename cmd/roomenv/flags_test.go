package main

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Each flag of each command refuses an empty text, which is what the unset variable of a
// script gives, except where it is a value.
func TestEmptyFlags(t *testing.T) {
	values := map[string]bool{
		"roomenv secret set --text":      true,
		"roomenv secret set --base64":    true,
		"roomenv oauth request --scopes": true, // none
		"roomenv oauth token --scopes":   true,
	}
	tried := 0
	var try func(cmd *cobra.Command)
	try = func(cmd *cobra.Command) {
		check := func(f *pflag.Flag) {
			name := "--" + f.Name
			where := cmd.CommandPath() + " " + name
			err := cmd.ParseFlags([]string{name + "="})
			switch {
			case values[where]:
				if err != nil {
					t.Errorf("%s '': %v", where, err)
				}
				delete(values, where)
			case err == nil:
				t.Errorf("%s '': no error", where)
			default:
				want := "missing value of " + name + "\nhint: see `" + cmd.CommandPath() + " --help`"
				if f.Value.Type() == "bool" {
					want = strings.Replace(want, "missing value of "+name, `invalid `+name+` "": want true or false`, 1)
				}
				if got := flagError(cmd, err).Error(); got != want {
					t.Errorf("%s '': %s", where, got)
				}
			}
			tried++
		}
		cmd.LocalFlags().VisitAll(check)
		for _, c := range cmd.Commands() {
			try(c)
		}
	}
	try(newRoot(new(app), nil))
	if tried < 80 || len(values) > 0 {
		t.Errorf("%d flags were tried; not found: %v", tried, values)
	}
}

// What a flag cannot be is an error before anything is done.
func TestInvalidFlags(t *testing.T) {
	root := newRoot(new(app), nil)
	for _, test := range []struct{ args, want string }{
		{"exec --user nobody-of-this-name", `invalid --user "nobody-of-this-name": user not found`},
		{"exec --user 1:x", `invalid --user "1:x": want two numbers`},
		{"exec --stop-signal NONE", `invalid --stop-signal "NONE": unknown signal`},
		{"exec --stop-timeout -5s", `invalid --stop-timeout "-5s": want a duration above 0, such as 10s or 1m30s`},
		{"exec --stop-timeout 0", `invalid --stop-timeout "0": want a duration above 0, such as 10s or 1m30s`},
		{"exec --stop-timeout 5", `invalid --stop-timeout "5": want a duration above 0, such as 10s or 1m30s`},
		{"exec --allow PATH,ENV", `invalid --allow "PATH,ENV": want the name of one variable`},
		{"exec --allow -- true", `invalid --allow "--": want the name of one variable`},
		{"exec --allow A=B", `invalid --allow "A=B": want the name of one variable`},
		{"exec --strip A=B", `invalid --strip "A=B": want the name of one variable`},
		{"exec --strip -- true", `invalid --strip "--": want the name of one variable`},
		{"exec --token-server=udp", `invalid --token-server "udp": want tcp or unix`},
		{"exec --once=maybe", `invalid --once "maybe": want true or false`},
		{"exec --room", "missing value of --room"},
		{"exec --no-such-flag", "unknown flag --no-such-flag"},
		{"exec -x", "unknown flag -x"},
		{"exec --=x", `invalid flag "--=x"`},
		{"status --pid 0", `invalid --pid "0": want the number of a process`},
		{"refresh --pid -1", `invalid --pid "-1": want the number of a process`},
		{"status --pid 1e3", `invalid --pid "1e3": want the number of a process`},
		{"secret request --timeout 0s", `invalid --timeout "0s": want a duration above 0, such as 10s or 1m30s`},
		{"oauth request --timeout soon", `invalid --timeout "soon": want a duration above 0, such as 10s or 1m30s`},
		{"room token --ttl -1h", `invalid --ttl "-1h": want a duration above 0, such as 10s or 1m30s`},
		{"room token --role admin", `invalid --role "admin": want user, agent or tool`},
		{"env --help", `unknown command "env" for "roomenv"`},
		{"sidecart -x", `unknown command "sidecart" for "roomenv"`},
		{"secret gett --room demo", `unknown command "gett" for "roomenv secret"`},
	} {
		cmd, args, err := root.Find(strings.Fields(test.args))
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
			continue
		}
		if err = cmd.ParseFlags(args); err != nil {
			err = flagError(cmd, err)
		} else {
			err = unknownCommand(cmd, cmd.Flags().Args())
		}
		got, _, _ := strings.Cut(fmt.Sprint(err), "\n")
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.args, got, test.want)
		}
	}
	for _, args := range []string{"exec --strip npm_config_x-y", "exec --strip BASH_FUNC_f%% --allow PATH --stop-signal 10", "room token --ttl 1m"} {
		cmd, rest, _ := root.Find(strings.Fields(args))
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestFlagsAreTried looks for each flag in a command line of a script or of a test.
func TestFlagsAreTried(t *testing.T) {
	var tried []string
	for _, pattern := range []string{"testdata/script/*.txtar", "*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.NewReplacer(`"`, "", ",", "", "\nserve ", "\nroom serve ").Replace(string(text))
			tried = append(tried, strings.Split(lines, "\n")...)
		}
	}
	for _, cmd := range allCommands(newRoot(new(app), nil)) {
		words := strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), "roomenv"), " ")
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			found := slices.ContainsFunc(tried, func(line string) bool {
				_, args, ok := strings.Cut(line, words)
				args += " "
				return ok && (strings.Contains(args, "--"+f.Name+" ") || strings.Contains(args, "--"+f.Name+"=") ||
					f.Shorthand != "" && strings.Contains(args, " -"+f.Shorthand+" "))
			})
			if !found {
				t.Errorf("no test passes --%s to roomenv %s", f.Name, words)
			}
		})
	}
}

// A flag of an OAuth client overrides the manifest, also one that is false or empty.
func TestClientFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.yaml")
	text := "version: 1\noauth: {gh: {client_id: c, authorization_endpoint: https://a, token_endpoint: https://t, scopes: [repo], no_pkce: true}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args   []string
		noPKCE bool
		scopes string
	}{
		{nil, true, "[repo]"},
		{[]string{"--no-pkce=false", "--scopes="}, false, "[]"},
		{[]string{"--no-pkce", "--scopes=a,b"}, true, "[a b]"},
	} {
		var c oauthClient
		cmd := new(cobra.Command)
		c.flags(cmd)
		cmd.Flags().BoolVar(&c.NoPKCE, "no-pkce", false, "")
		fill(cmd)
		if err := cmd.ParseFlags(append(test.args, "-m", file)); err != nil {
			t.Fatal(err)
		}
		if err := c.complete("gh", cmd.Flags()); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(c.Scopes); c.NoPKCE != test.noPKCE || got != test.scopes {
			t.Errorf("%q: no_pkce is %v, scopes are %s", test.args, c.NoPKCE, got)
		}
	}
}

// What a participant is asked for is all that the flags say.
func TestRequestParams(t *testing.T) {
	for timeout, want := range map[time.Duration]string{
		5 * time.Minute:         "timeout=300&type=git&url=https%3A%2F%2Fu",
		time.Microsecond:        "timeout=0.000001&type=git&url=https%3A%2F%2Fu",
		1000000 * time.Hour:     "timeout=3600000000&type=git&url=https%3A%2F%2Fu",
		1500 * time.Millisecond: "timeout=1.5&type=git&url=https%3A%2F%2Fu",
	} {
		q := requestOptions{timeout: timeout}
		if got := q.params("url", "https://u", "type", "git"); got != want {
			t.Errorf("%s: got %s, want %s", timeout, got, want)
		}
	}
}

// A user has all groups that the system knows.
func TestParseUser(t *testing.T) {
	us, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	groups, err := us.GroupIds()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{us.Username, us.Uid} {
		got, err := parseUser(name)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got.Uid, got.Gid, got.Groups) != fmt.Sprint(us.Uid, " ", us.Gid, " ", groups) {
			t.Errorf("%s: got %+v, want %s, %s and %s", name, got, us.Uid, us.Gid, groups)
		}
	}
}
