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

// Render returns what a child gets: the inherited environment with the entries of
// m over it, and the files of m, which will be in the folder dir. inherited is as
// from [os.Environ]; of several entries for one name the last counts.
//
//   - An entry of m owns its name. When it is absent, because an optional
//     reference in it is missing, an inherited variable of that name is gone too:
//     the child never takes an old value for a new one, or the text of a
//     reference for a value.
//   - What is [Withheld] is not inherited, neither by the child nor through ${NAME}
//     in m. An entry of m may still set it.
//   - Inherited entries without a name or without "=" are dropped: no program can
//     look them up.
//
// In m, ${NAME} is the entry NAME, else the inherited variable; in the entry NAME
// itself it is the inherited one. It is empty when neither is there, as in a
// shell. A reference whose value is missing, or whose field is missing or null,
// takes its default; with none it makes its entry absent if it is optional.
//
// [CredentialsDirectory] is dir, unless m sets it or dir is "".
//
// The error names every entry that cannot be rendered, one on a line, in the
// order of m, and holds no values.
func Render(m *manifest.Manifest, s *fetch.Snapshot, inherited []string, dir string) (*Result, error) {
	if dir != "" {
		inherited = append(slices.Clip(inherited), CredentialsDirectory+"="+dir)
	}
	names, values := inherit(inherited)
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
		} else {
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

// Withheld reports whether a variable is for roomenv alone: the keys that mint
// tokens, and its settings. MESHAGENT_TOKEN is not: an agent joins its room with
// that.
func Withheld(name string) bool {
	return name == "MESHAGENT_API_KEY" || name == "MESHAGENT_SECRET" || strings.HasPrefix(name, "ROOMENV_")
}

// inherit returns the variables of environ and their names in order.
func inherit(environ []string) (names []string, values map[string]string) {
	values = make(map[string]string, len(environ))
	for _, kv := range environ {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" || Withheld(name) {
			continue
		}
		if _, ok := values[name]; !ok {
			names = append(names, name)
		}
		values[name] = value
	}
	return names, values
}
