package manifest

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
)

// Load reads the layers of a manifest: the variables of environ whose whole
// value is a reference, then files in their order. A name in a later layer
// replaces the earlier one and keeps its place, and so does the path of a file
// for the child, an OAuth client and a setting of refresh or exec. A file whose name ends in .yaml, .yml or
// .json is YAML, every other is .env-style. environ is in the form of os.Environ.
// Beside those of [SchemeRoom] the references may be of the given schemes.
//
// The error is an [Errors] with all faults of all layers.
func Load(files, environ []string, also ...string) (*Manifest, error) {
	known := append(schemes{SchemeRoom}, also...)
	var sources []*source
	layers := [][]item{known.inherited(environ)}
	clients := map[string]OAuthClient{}
	var settings settings
	for _, it := range layers[0] {
		sources = append(sources, it.source)
	}
	for _, file := range files {
		s := open(file)
		s.schemes = known
		sources = append(sources, s)
		if s.err == nil && s.checkUTF8() {
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
	var errs Errors
	for _, s := range sources {
		errs = append(errs, s.errors()...)
	}
	if errs != nil {
		return nil, errs
	}
	m := &Manifest{OAuth: clients, Refresh: settings.refresh, Exec: settings.exec}
	for _, f := range contents {
		f.StalePolicy = f.over(m.Refresh.StalePolicy)
		m.Files = append(m.Files, f.File)
	}
	for _, it := range items {
		it.StalePolicy = it.over(m.Refresh.StalePolicy)
		m.Entries = append(m.Entries, it.Entry)
	}
	return m, nil
}

// An item is an entry with the place for faults of it.
type item struct {
	Entry
	source *source
	off    int
}

// A layer is what one file says.
type layer struct {
	items   []item
	clients map[string]OAuthClient
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
// source of its own, of which nothing is printed: it may be no reference but a
// value that looks like one.
func (k schemes) inherited(environ []string) []item {
	var items []item
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if k.of(value) == "" {
			continue
		}
		s := &source{file: environment, text: value}
		it := item{Entry{Name: name, Pos: s.position(0)}, s, 0}
		r, f := k.parseReference(value)
		switch {
		case !validName(name):
			s.fail(0, fmt.Sprintf("the name of the variable %q is not valid", name), nameHint)
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
	return fmt.Sprintf("it is on line %d already: keep one; a file of another -m may replace a value", first.Line)
}

// merge joins the layers, of which the first is the environment.
func merge(layers [][]item) []item {
	var items []item
	place := map[string]int{}
	references := map[string]Expr{}
	for _, it := range layers[0] {
		references[it.Name] = it.Value
	}
	for _, layer := range layers {
		for _, it := range layer {
			if own, ok := references[it.Name]; ok {
				it.Value = it.replaceOwn(it.Value, own)
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
func (it item) replaceOwn(value, own Expr) Expr {
	var parts Expr
	for _, p := range value {
		switch v := p.Variable; {
		case v == nil || v.Name != it.Name && v.Operator == "":
			parts = append(parts, p)
		case v.Name != it.Name:
			word := it.replaceOwn(v.Operand, own)
			parts = append(parts, Part{Variable: &Variable{v.Name, v.Operator, word}})
		case v.Operator == "":
			parts = append(parts, own...)
		default:
			it.source.fail(it.off, fmt.Sprintf("${%s%s…} within %[1]s, which is a reference in the environment", v.Name, v.Operator),
				"write default= or optional=true into the reference, or use ${"+v.Name+"} as it is")
		}
	}
	return parts
}

// maxCycle bounds how many names of a cycle are printed.
const maxCycle = 10

// checkCycles records each cycle of entries that use each other. A name in its
// own value is the inherited variable, so no cycle.
func checkCycles(items []item) {
	index := map[string]int{}
	for i, it := range items {
		index[it.Name] = i
	}
	const done = -1
	place := make([]int, len(items)) // on the path, from 1
	var path []int
	var visit func(int)
	use := func(from int, name string) {
		to, ok := index[name]
		switch {
		case !ok || to == from || place[to] == done:
		case place[to] > 0:
			failCycle(items, path[place[to]-1:])
		default:
			visit(to)
		}
	}
	visit = func(i int) {
		path = append(path, i)
		place[i] = len(path)
		items[i].Value.variables(func(name string) { use(i, name) })
		path = path[:len(path)-1]
		place[i] = done
	}
	for i := range items {
		if place[i] == 0 {
			visit(i)
		}
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
	first.source.fail(first.off, "these use each other: "+names.String()+first.Name,
		"only a name within its own value is the inherited variable")
}

// variables calls f for the name of each variable in the template.
func (t Expr) variables(f func(name string)) {
	for _, p := range t {
		if p.Variable != nil {
			f(p.Variable.Name)
			p.Variable.Operand.variables(f)
		}
	}
}
