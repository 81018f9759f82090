package render

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/roomenv/roomenv/manifest"
)

// A Policy narrows what reaches a command. The zero Policy passes on the inherited
// environment and allows no fetched value in a code-loading variable.
type Policy struct {
	// Pristine passes on nothing of the inherited environment except what the
	// manifest names.
	Pristine bool
	// Strip names inherited variables that are treated as unset.
	Strip []string
	// Allow names code-loading variables that may take a fetched value: those that decide
	// which code a common program runs, such as PATH, LD_PRELOAD or NODE_OPTIONS.
	Allow []string
}

// ErrLoadsCode is why a fetched value is refused: who can write a secret is not always
// who may run code where it is read. [Policy].Allow allows it for a variable.
var ErrLoadsCode = errors.New("room values are not allowed in code-loading variables")

// check refuses fetched values in code-loading variables.
func (p Policy) check(m *manifest.Manifest) error {
	entries := byName(m)
	if len(m.Files) > 0 {
		// A path that is made of it leads to a file like one of [manifest.Part].
		for _, name := range directoryVariables {
			entries[name] = manifest.Entry{Value: manifest.Expr{{File: "."}}}
		}
	}
	var errs []error
	for _, e := range m.Entries {
		if loadsCode(e.Name) && !slices.Contains(p.Allow, e.Name) && fetched(entries, e.Value, map[string]bool{e.Name: true}) {
			errs = append(errs, fmt.Errorf("set %s (%s): %w", e.Name, e.Pos, ErrLoadsCode))
		}
	}
	return errors.Join(errs...)
}

func byName(m *manifest.Manifest) map[string]manifest.Entry {
	entries := make(map[string]manifest.Entry, len(m.Entries))
	for _, e := range m.Entries {
		entries[e.Name] = e
	}
	return entries
}

// fetched reports whether a part of t can come from a room, be it by way of
// other entries or in a file that it leads to.
func fetched(entries map[string]manifest.Entry, t manifest.Expr, seen map[string]bool) bool {
	for _, part := range t {
		if part.Reference != nil || part.File != "" {
			return true
		}
		v := part.Variable
		if v == nil {
			continue
		}
		if fetched(entries, v.Operand, seen) {
			return true
		}
		if e, ok := entries[v.Name]; ok && !seen[v.Name] {
			seen[v.Name] = true
			if fetched(entries, e.Value, seen) {
				return true
			}
		}
	}
	return false
}

// loadsCode reports whether a variable decides which code a common program runs:
// by the loader (ld.so(8), dyld(1)), a shell, an interpreter, git, or whatever
// starts a helper program that the environment names.
func loadsCode(name string) bool {
	return strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "DYLD_") || strings.HasPrefix(name, "BASH_FUNC_") ||
		slices.Contains(codeLoading, name)
}

var codeLoading = strings.Fields(`
	PATH GCONV_PATH GLIBC_TUNABLES
	IFS ENV BASH_ENV SHELLOPTS BASHOPTS PS4 PROMPT_COMMAND ZDOTDIR SHELL
	NODE_OPTIONS NODE_PATH
	PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONBREAKPOINT PYTHONWARNINGS
	PERL5LIB PERLLIB PERL5OPT PERL5DB
	RUBYLIB RUBYOPT
	JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS CLASSPATH
	LUA_PATH LUA_CPATH LUA_INIT
	PHPRC PHP_INI_SCAN_DIR
	DOTNET_STARTUP_HOOKS CORECLR_PROFILER CORECLR_PROFILER_PATH
	GIT_EXEC_PATH GIT_SSH GIT_SSH_COMMAND GIT_ASKPASS GIT_EDITOR GIT_PAGER GIT_EXTERNAL_DIFF
	GIT_CONFIG GIT_CONFIG_GLOBAL GIT_CONFIG_SYSTEM GIT_CONFIG_COUNT GIT_CONFIG_PARAMETERS GIT_PROXY_COMMAND
	EDITOR VISUAL PAGER MANPAGER BROWSER LESSOPEN LESSCLOSE SSH_ASKPASS SUDO_ASKPASS
	OPENSSL_CONF OPENSSL_ENGINES OPENSSL_MODULES
`)
