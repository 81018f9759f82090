package render

import (
	"io/fs"
	"maps"
	"reflect"
	"slices"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// A Digest is what can be compared of a [Result] without its values.
type Digest struct {
	variables map[string]secret.Sum // by name
	files     map[string]fileSum    // by path
}

type fileSum struct {
	mode       fs.FileMode
	descriptor int
	content    secret.Sum
}

// Digest returns the digest of g. Digests of one Hasher can be compared.
func (g *Result) Digest(h *secret.Hasher) *Digest {
	d := &Digest{make(map[string]secret.Sum, len(g.Env)), make(map[string]fileSum, len(g.Files))}
	for _, v := range g.Env {
		d.variables[v.Name] = h.Sum(v.Value)
	}
	for _, f := range g.Files {
		d.files[f.Path] = fileSum{f.Mode, f.Descriptor, h.Sum(f.Content)}
	}
	return d
}

// Without returns d without files of those paths.
func (d *Digest) Without(files []string) *Digest {
	rest := maps.Clone(d.files)
	for _, path := range files {
		delete(rest, path)
	}
	return &Digest{d.variables, rest}
}

// Changes are the names of the variables and the paths of the files that differ
// between two results, including those that came or went. They are sorted.
type Changes struct{ Variables, Files []string }

// Any reports whether there is a change.
func (c Changes) Any() bool { return len(c.Variables)+len(c.Files) > 0 }

// Diff returns what differs between the results of d and next: values, the content of
// files, their modes and their descriptors.
func (d *Digest) Diff(next *Digest) Changes {
	return Changes{differing(d.variables, next.variables), differing(d.files, next.files)}
}

func differing[Sum comparable](before, now map[string]Sum) (names []string) {
	for name, s := range now {
		if old, ok := before[name]; !ok || old != s {
			names = append(names, name)
		}
	}
	for name := range before {
		if _, ok := now[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Actions returns what m, the manifest of the newer result, asks for because of the
// changes: each signal and command once, in the order of m, entries before files. A
// restart replaces all of them, since a new process has everything; then it is the only
// action. "none" is not an action.
//
// A variable for which m has no on_change uses that of exec, else a restart; a file
// none. A process has a file without a name open (memfd_create(2)) and does not see a
// new version, so that such a file needs a restart, unless m says none.
func (c Changes) Actions(m *manifest.Manifest) []manifest.OnChange {
	general := manifest.OnChange{Kind: manifest.ChangeRestart}
	if m.Exec.OnChange != nil {
		general = *m.Exec.OnChange
	}
	var asked []manifest.OnChange
	ask := func(own *manifest.OnChange, otherwise manifest.OnChange) {
		if own != nil {
			otherwise = *own
		}
		same := func(o manifest.OnChange) bool { return reflect.DeepEqual(o, otherwise) }
		if otherwise.Kind != manifest.ChangeNone && !slices.ContainsFunc(asked, same) {
			asked = append(asked, otherwise)
		}
	}
	named := map[string]bool{}
	for _, e := range m.Entries {
		named[e.Name] = true
		if slices.Contains(c.Variables, e.Name) {
			ask(e.OnChange, general)
		}
	}
	for _, name := range c.Variables {
		if !named[name] { // it is from a previous manifest
			ask(nil, general)
		}
	}
	for _, f := range m.Files {
		switch own := f.OnChange; {
		case !slices.Contains(c.Files, f.Path):
		case f.Memfd && (own == nil || own.Kind != manifest.ChangeNone):
			ask(nil, manifest.OnChange{Kind: manifest.ChangeRestart})
		default:
			ask(own, manifest.OnChange{Kind: manifest.ChangeNone})
		}
	}
	for _, o := range asked {
		if o.Kind == manifest.ChangeRestart {
			return []manifest.OnChange{o}
		}
	}
	return asked
}
