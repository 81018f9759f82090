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

// check refuses fetched values in code-loading variables, of the command and of a shell
// that reads a file.
func (p Policy) check(m *manifest.Manifest) error {
	entries := byName(m)
	if len(m.Files) > 0 {
		// A path that is made of it leads to a file like one of [manifest.Part].
		for _, name := range directoryVariables {
			entries[name] = manifest.Entry{Value: manifest.Expr{{File: "."}}}
		}
	}
	variables := m.Entries
	for _, f := range m.Files {
		if f.Format == manifest.FormatDotenv || f.Format == manifest.FormatShell {
			variables = slices.Concat(variables, f.Entries)
		}
	}
	var errs []error
	for _, e := range variables {
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
// by the loader (ld.so(8), dyld(1)), a shell, an interpreter, a compiler, git, or whatever
// starts a helper program that the environment or a configuration file names. Variables
// come in families: PREFIX* and *SUFFIX.
func loadsCode(name string) bool {
	has := func(has func(name, affix string) bool, name string, affixes []string) bool {
		return slices.ContainsFunc(affixes, func(affix string) bool { return has(name, affix) })
	}
	if lower := strings.ToLower(name); strings.HasPrefix(lower, "npm_config_") {
		name = strings.ToUpper(name) // npm reads any case
	}
	return slices.Contains(codeLoading, name) || has(strings.HasSuffix, name, codeLoadingSuffixes) ||
		has(strings.HasPrefix, name, codeLoadingPrefixes) && !has(strings.HasSuffix, strings.ToUpper(name), credentials) ||
		strings.HasSuffix(name, "FLAGS") && !strings.HasSuffix(name, "_FLAGS") // MAKEFLAGS, but not FEATURE_FLAGS
}

var (
	codeLoadingPrefixes = strings.Fields(`
		LD_ DYLD_ BASH_FUNC_ GIT_ PYTHON PERL RUBY LUA_ XDG_
		CARGO_ CMAKE_ CORECLR_ DOTNET_ ERL_ NPM_CONFIG_
	`)
	codeLoadingSuffixes = strings.Fields(`_OPTIONS _OPTS _ADDOPTS _HOME EDITOR PAGER BROWSER ASKPASS _RSH _WRAPPER _COMMAND _PASSCOMMAND`)

	// Suffixes of what rooms are for: GIT_TOKEN and NPM_CONFIG__AUTH load no code.
	credentials = strings.Fields(`_AUTH _AUTHTOKEN _EMAIL _KEY _NAME _PASSWORD _SECRET _TOKEN _USER _USERNAME`)

	codeLoading = strings.Fields(`
		PATH GCONV_PATH GLIBC_TUNABLES
		HOME GNUPGHOME
		IFS ENV BASH_ENV SHELLOPTS BASHOPTS BASH_LOADABLES_PATH PS0 PS1 PS2 PS4 PROMPT_COMMAND ZDOTDIR FPATH SHELL
		NODE_PATH NODE_REPL_EXTERNAL_MODULE
		CLASSPATH GOENV GOROOT GOPATH GOTOOLCHAIN
		PHPRC PHP_INI_SCAN_DIR
		R_PROFILE R_PROFILE_USER R_ENVIRON R_ENVIRON_USER R_LIBS R_LIBS_USER
		JULIA_LOAD_PATH JULIA_DEPOT_PATH TCLLIBPATH GUILE_LOAD_PATH AWKPATH AWKLIBPATH
		SVN_SSH PYTEST_PLUGINS HGRCPATH RIPGREP_CONFIG_PATH
		BUNDLE_GEMFILE GEM_PATH COR_PROFILER COR_PROFILER_PATH
		CC CXX CPP LD AR COMPILER_PATH GCC_EXEC_PREFIX RUSTC RUSTDOC NVCC_APPEND_FLAGS NVCC_PREPEND_FLAGS
		MAKEFILES VISUAL LESS LESSOPEN LESSCLOSE LESSKEY LESSKEYIN LESSKEY_CONTENT MAILCAPS WGETRC
		VIMINIT GVIMINIT EXINIT VIMRUNTIME EMACSLOADPATH PSQLRC JUPYTER_CONFIG_DIR IPYTHONDIR
		KUBECONFIG AWS_CONFIG_FILE AWS_SHARED_CREDENTIALS_FILE DOCKER_CONFIG TF_CLI_CONFIG_FILE
		OPENSSL_CONF OPENSSL_ENGINES OPENSSL_MODULES KRB5_CONFIG
		DBUS_SESSION_BUS_ADDRESS DBUS_SYSTEM_BUS_ADDRESS
		GTK_MODULES GTK_PATH GIO_EXTRA_MODULES GDK_PIXBUF_MODULE_FILE QT_PLUGIN_PATH GST_PLUGIN_PATH
		CUDA_INJECTION64_PATH NVTX_INJECTION64_PATH OMP_TOOL_LIBRARIES
		VK_ICD_FILENAMES VK_DRIVER_FILES VK_LAYER_PATH LIBGL_DRIVERS_PATH OCL_ICD_VENDORS
	`)
)
