package manifest

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
)

// maxSize is the largest manifest file, in bytes.
const maxSize = 1 << 20

// Load reads the layers of a manifest: the variables of environ whose whole
// value is a reference, then files in their order. A name in a later layer
// replaces the earlier one and keeps its place, and so does the path of a file, an
// OAuth client and a setting of refresh or exec. A file whose name ends in .yaml, .yml
// or .json is YAML, every other is .env-style. environ is in the form of os.Environ.
// Beside those of [SchemeRoom] the references may be of the given schemes.
//
// The error joins an [*Error] for each error in each layer.
func Load(files, environ []string, also ...string) (*Manifest, error) {
	known := append(schemes{SchemeRoom}, also...)
	layers := [][]item{known.inherited(environ)}
	clients := map[string]OAuthClient{}
	var sources []*source
	settings := settings{at: map[string]place{}}
	for _, it := range layers[0] {
		sources = append(sources, it.source)
	}
	for _, file := range files {
		s := open(file)
		s.schemes = known
		sources = append(sources, s)
		if s.err == nil && s.fault == nil {
			l := parse(s, &settings)
			layers = append(layers, l.items)
			maps.Copy(clients, l.clients)
		}
	}
	items := merge(layers)
	checkCycles(items)
	items, contents := collectFiles(sources, items)
	setClients(items, contents, clients)
	settings.check()
	var errs manifestErrors
	for _, s := range sources {
		errs = append(errs, s.errors()...)
	}
	if errs != nil {
		return nil, errs
	}
	settings.exec.Pos, settings.refresh.Pos = positions(&settings, execKeys), positions(&settings, refreshKeys)
	m := &Manifest{Entries: make([]Entry, 0, len(items)), OAuth: clients, Refresh: settings.refresh, Exec: settings.exec}
	for _, f := range contents {
		f.UpdatePolicy = f.policy.over(settings.policy)
		m.Files = append(m.Files, f.File)
	}
	for _, it := range items {
		it.UpdatePolicy = it.policy.over(settings.policy)
		m.Entries = append(m.Entries, it.Entry)
	}
	return m, nil
}

// An item is an entry while the layers are read.
type item struct {
	Entry
	policy
	place
}

// A place is where an error is recorded.
type place struct {
	source *source
	off    int
}

func (p place) fail(message, hint string) { p.source.fail(p.off, message, hint) }

// A layer is what one file says.
type layer struct {
	source   *source
	items    []item
	clients  map[string]OAuthClient
	settings *settings // of this file and the earlier ones
}

// parse reads a file over the settings of earlier ones.
func parse(s *source, over *settings) layer {
	switch strings.ToLower(filepath.Ext(s.file)) {
	case ".yaml", ".yml", ".json":
		return parseYAML(s, over)
	}
	return layer{items: parseDotenv(s)}
}

// inherited returns the variables of environ that are references. Each is a
// source of its own, of which nothing is printed: its value may be a secret that only
// looks like a reference.
func (k schemes) inherited(environ []string) []item {
	var items []item
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if k.of(value) == "" {
			continue
		}
		s := &source{file: environment, text: value}
		it := item{Entry: Entry{Name: name, Pos: s.position(0)}, place: place{s, 0}}
		r, f := k.parseReference(value)
		switch {
		case !validName(name):
			s.fail(0, fmt.Sprintf("invalid name of the variable %q", name), nameHint)
		case f != nil:
			s.fail(0, "variable "+name+": "+f.message, f.hint)
		default:
			it.Value = Expr{{Reference: &r}}
		}
		items = append(items, it)
	}
	return items
}

func validName(s string) bool {
	return s != "" && isNameStart(s[0]) && !strings.ContainsFunc(s, func(r rune) bool { return r > 127 || !isName(byte(r)) })
}

// inherit is the value of an entry that is only a name: what the environment
// has.
func inherit(name string) Expr { return Expr{{Variable: &Variable{Name: name}}} }

func duplicateHint(first Position) string {
	return fmt.Sprintf("already defined on line %d; delete one, or override it in a later -m file", first.Line)
}

// checkNames records variables that one file sets twice, as under env and as the
// env of a file.
func checkNames(items []item) {
	first := make(map[string]Position, len(items))
	for _, it := range items {
		if p, twice := first[it.Name]; twice {
			it.fail(it.Name+" is set twice", duplicateHint(p))
			continue
		}
		first[it.Name] = it.Pos
	}
}

// merge joins the layers, of which the first is the environment.
func merge(layers [][]item) []item {
	var items []item
	place := map[string]int{}
	references := map[string]*Reference{}
	for _, it := range layers[0] {
		if it.Value != nil {
			references[it.Name] = it.Value[0].Reference
		}
	}
	for _, layer := range layers {
		for _, it := range layer {
			if own := references[it.Name]; own != nil {
				it.replaceOwn(own)
			}
			if i, ok := place[it.Name]; ok {
				items[i] = it
				continue
			}
			place[it.Name] = len(items)
			items = append(items, it)
		}
	}
	return items
}

// replaceOwn puts the inherited reference in the place of the entry's own name.
func (it item) replaceOwn(own *Reference) {
	for p := range it.Value.parts(true) {
		switch v := p.Variable; {
		case v == nil || v.Name != it.Name:
		case v.Operator == "":
			r := *own
			*p = Part{Reference: &r}
		default:
			it.fail(fmt.Sprintf("${%s%s…} within %[1]s, which is a reference in the environment", v.Name, v.Operator),
				"write default= or optional=true into the reference, or use ${"+v.Name+"}")
		}
	}
}

// maxCycle bounds how many names of a cycle are printed.
const maxCycle = 10

// checkCycles records each cycle of entries that use each other. A name in its
// own value is the inherited variable, so no cycle.
func checkCycles(items []item) {
	index := make(map[string]int, len(items))
	for i, it := range items {
		index[it.Name] = i
	}
	const done = -1
	place := make([]int, len(items)) // on the path, from 1
	var path []int
	var visit func(int)
	visit = func(i int) {
		switch {
		case place[i] == done:
			return
		case place[i] > 0:
			failCycle(items, path[place[i]-1:])
			return
		}
		path = append(path, i)
		place[i] = len(path)
		for p := range items[i].Value.parts(true) {
			if p.Variable == nil {
				continue
			}
			if to, ok := index[p.Variable.Name]; ok && to != i {
				visit(to)
			}
		}
		path = path[:len(path)-1]
		place[i] = done
	}
	for i := range items {
		visit(i)
	}
}

// failCycle records a cycle at its first entry.
func failCycle(items []item, cycle []int) {
	var names strings.Builder
	for n, i := range cycle {
		if n == maxCycle {
			fmt.Fprintf(&names, "(%d more) → ", len(cycle)-n)
			break
		}
		names.WriteString(items[i].Name + " → ")
	}
	first := items[cycle[0]]
	first.fail("cycle of variables: "+names.String()+first.Name,
		"only a name within its own value is the inherited variable")
}
