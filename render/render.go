package render

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// Render returns what a command gets: the inherited environment with the entries of m
// over it, and the files of m, which will be in the directory dir. inherited is from
// [os.Environ]; of several entries for one name the last counts.
//
//   - An entry of m owns its name. When it is absent, because an optional
//     reference in it is missing, an inherited variable of that name is unset too:
//     the command never takes an old value for a new value, or the text of a
//     reference for a value.
//   - Keys that sign tokens (MESHAGENT_API_KEY, MESHAGENT_SECRET) and the settings of
//     roomenv (ROOMENV_*) are not inherited, neither by the command nor through
//     ${NAME} in m. An entry of m may still set them.
//   - Inherited entries without a name or without "=" are dropped: no program can
//     look them up.
//
// In m, ${NAME} is the entry NAME, else the inherited variable; in the entry NAME
// itself it is the inherited variable. It is empty when neither is set, as in a
// shell. A reference whose value is missing, or whose field is missing or null,
// takes its default; without one it makes its entry absent if it is optional.
//
// ROOMENV_FILES and CREDENTIALS_DIRECTORY are dir, unless m sets them, dir is "" or, for
// the second, it is inherited: a service of systemd keeps its credentials.
//
// The error names every entry that cannot be rendered, each on a line, in the
// order of m, and holds no values.
func (p Policy) Render(m *manifest.Manifest, s *fetch.Snapshot, inherited []string, dir string) (*Result, error) {
	if err := p.check(m); err != nil {
		return nil, err
	}
	names, values := p.inherit(inherited)
	if dir != "" {
		names = p.setDirectory(m, inherited, names, values, dir)
	}
	e := evaluate(m, s, values, dir)
	results := e.results

	var errs []error
	for _, e := range m.Entries {
		if e.Name == "" || strings.ContainsAny(e.Name, "=\x00") {
			errs = append(errs, fmt.Errorf("set %q (%s): invalid variable name", e.Name, e.Pos))
		}
		for _, err := range results[e.Name].errs {
			errs = append(errs, fmt.Errorf("set %s (%s): %w", e.Name, e.Pos, err))
		}
	}
	files, fileErrs := e.renderFiles(m)
	if errs = append(errs, fileErrs...); errs != nil {
		return nil, errors.Join(errs...)
	}

	g := &Result{Env: make([]Variable, 0, len(names)+len(m.Entries)), Files: files, Secrets: e.secrets}
	set := func(r *result) {
		if r.state == done {
			g.Env = append(g.Env, Variable{r.entry.Name, secret.New(r.value)})
		}
	}
	for _, name := range names {
		if r := results[name]; r != nil {
			set(r)
		} else if !p.Pristine || slices.Contains(directoryVariables, name) && values[name] == dir {
			g.Env = append(g.Env, Variable{name, secret.New([]byte(values[name]))})
		}
	}
	for _, e := range m.Entries {
		if _, ok := values[e.Name]; !ok {
			set(results[e.Name])
		}
	}
	return g, nil
}

// withheld reports whether a variable is for roomenv alone: the keys that sign
// tokens, and its settings. MESHAGENT_TOKEN is not: an agent joins its room with
// that.
func withheld(name string) bool {
	return name == "MESHAGENT_API_KEY" || name == "MESHAGENT_SECRET" || strings.HasPrefix(name, "ROOMENV_")
}

// inherit returns the variables of environ that p does not strip, and their names in
// order.
func (p Policy) inherit(environ []string) (names []string, values map[string]string) {
	values = make(map[string]string, len(environ))
	for _, kv := range environ {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" || withheld(name) || slices.Contains(p.Strip, name) {
			continue
		}
		if _, ok := values[name]; !ok {
			names = append(names, name)
		}
		values[name] = value
	}
	return names, values
}
