package manifest

import (
	_ "embed"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of the YAML form. It describes the
// structure; the syntax within a text is only in the parser.
func Schema() []byte { return slices.Clone(schema) }

// topKeys are the keys of a file.
var topKeys = keys[layer]{
	on("version", kind[bool]{"`1`", `{"const": 1}`, (*source).version}, "Version of the format.", func(*layer, bool) {}).always(),
	on("env", kind[[]item]{"mapping of NAME", `{"$ref": "#/$defs/env"}`, (*source).env}, "Environment variables.",
		func(l *layer, items []item) { l.items = append(l.items, items...) }).merging("NAME"),
	on("files", kind[[]item]{"mapping of PATH", `{"$ref": "#/$defs/files"}`, (*source).readFiles}, "Files, by path below `$ROOMENV_FILES`.",
		func(l *layer, items []item) { l.items = append(l.items, items...) }).merging("PATH"),
	on("oauth", kind[map[string]OAuthClient]{"mapping of CLIENT", `{"$ref": "#/$defs/clients"}`, (*source).clients}, "OAuth clients that `room:oauth/CLIENT` and `{oauth: CLIENT}` name.",
		func(l *layer, clients map[string]OAuthClient) { l.clients = clients }).merging("CLIENT"),
	on("refresh", anyMapping("refresh"), "How values are kept current while the command runs, and the policy of entries and files without one.", func(l *layer, f field) {
		l.note(f)
		refreshKeys.readMapping(l.source, f, "keys such as interval: 60s", l.settings)
	}).merging("key"),
	on("exec", anyMapping("exec"), "How `roomenv exec` runs the command, unless its flags say otherwise.", func(l *layer, f field) {
		l.note(f)
		execKeys.readMapping(l.source, f, "keys such as mask: true", &l.settings.exec)
	}).merging("key"),
}

// anyMapping is a kind of mappings that the key reads.
func anyMapping(def string) kind[field] {
	return kind[field]{"mapping", `{"$ref": "#/$defs/` + def + `"}`, func(_ *source, f field) field { return f }}
}

// parseYAML reads a file over the settings of earlier ones.
func parseYAML(s *source, over *settings) layer {
	l := layer{source: s, settings: over}
	root, ok := (&yamlFile{source: s}).read()
	if !ok {
		return l
	}
	topKeys.readMapping(s, field{"manifest", 0, root}, "version: 1 and env: at the start of lines", &l)
	checkNames(l.items)
	return l
}

func (s *source) version(f field) bool {
	if !f.value.isNumber(1) {
		s.fail(f.value.off, "unknown version", "this program supports version: 1")
	}
	return true
}

func (n node) isNumber(want float64) bool {
	value, err := strconv.ParseFloat(n.text, 64)
	return n.kind == numberNode && err == nil && value == want
}

// A spec is what the mapping of an entry or of a file says, or the query of a reference.
type spec struct {
	form string
	Reference
	params  url.Values // of the target
	request field
	literal Expr
	content File
	env     *item // the variable for the path of the file
}

// A form is one of the ways to say what a value is: the key that all mappings of this
// form have, and all their keys.
type form struct {
	name string
	keys keys[spec]
}

var (
	// entryForms are those of a mapping under env, the most telling first.
	entryForms = append([]form{{"value", join(literalKeys, changeKeys)}},
		referenceForms(join(pathKeys, policyKeys), keys[spec]{expiresKey})...)
	// fileForms are those of a mapping under files.
	fileForms = append([]form{
		{"value", join(literalKeys, placeKeys, changeKeys)},
		{"template", join(templateKeys, placeKeys, policyKeys)},
		{"format", join(formatKeys, placeKeys, policyKeys)},
	}, referenceForms(join(placeKeys, policyKeys), nil)...)

	literalKeys = keys[spec]{on("value", verbatim, "The value, verbatim: `$` and `room:` have no meaning.", func(v *spec, text string) {
		if text != "" {
			v.literal = Expr{{Literal: text}}
		}
	})}
	changeKeys = keys[spec]{onChangeKey(func(v *spec) *policy { return &v.policy })}
	policyKeys = join(changeKeys, staleKeys(func(v *spec) *policy { return &v.policy }, "max_stale"))
)

func join(tables ...keys[spec]) keys[spec] { return slices.Concat(tables...) }

// referenceForms are the forms of references with more keys, and some of oauth alone.
func referenceForms(more, ofOAuth keys[spec]) []form {
	more = join(groupKeys, attributeKeys, more)
	return []form{
		{string(KindSecret), join(keys[spec]{idKey(KindSecret, "ID of a secret in the room.")}, targetKeys[KindSecret], more)},
		{string(KindOAuth), join(keys[spec]{idKey(KindOAuth, "Name of a client under the top-level `oauth`.")}, targetKeys[KindOAuth], more, ofOAuth)},
		{string(KindRequest), join(keys[spec]{requestKey}, more)},
	}
}

func idKey(kind Kind, doc string) key[spec] {
	return on(string(kind), plainText, doc, func(v *spec, id string) { v.Path += id })
}

// readForm reads a mapping that has one of some forms.
func (s *source) readForm(forms []form, f field) spec {
	var v spec
	i := slices.IndexFunc(forms, func(c form) bool { return has(f.value.fields, c.name) })
	if i < 0 {
		s.withoutForm(forms, f)
		return v
	}
	v.form = forms[i].name
	v.Target = Target{Scheme: SchemeRoom, Path: v.form + "/"}
	forms[i].keys.read(s, f, &v, func(g field) {
		if slices.ContainsFunc(forms, func(c form) bool { return c.keys.find(g.key) != nil }) {
			s.fail(g.off, g.key+" cannot be combined with "+v.form, "")
			return
		}
		s.unknown(g, forms[i].keys.names())
	})
	s.checkStale(f.value.fields, v.policy)
	if v.form == string(KindRequest) {
		requestKeys.readMapping(s, v.request, "{from: PARTICIPANT, url: URL, type: TYPE}", &v)
	}
	v.setParams()
	return v
}

// withoutForm records what a mapping lacks that has no form.
func (s *source) withoutForm(forms []form, f field) {
	var names, all []string
	for _, c := range forms {
		names = append(names, c.name)
		all = append(all, c.keys.names()...)
	}
	faults := len(s.fault)
	for _, g := range f.value.fields {
		if !slices.Contains(all, g.key) {
			s.unknown(g, all)
		}
	}
	if len(s.fault) == faults {
		s.fail(f.off, "missing key: want one of "+strings.Join(names, ", "), "")
	}
}

// env reads a mapping of names to values.
func (s *source) env(f field) []item {
	var items []item
	for _, f := range s.fields(f, "NAME: value, indented") {
		if !validName(f.key) {
			s.fail(f.off, "invalid name", nameHint)
			continue
		}
		it := item{Entry: Entry{Name: f.key, Pos: s.position(f.off)}, place: place{s, f.off}}
		switch f.value.kind {
		case nullNode:
			it.Value = inherit(f.key)
		case textNode:
			it.Value = s.expr(f.value)
		case mapNode:
			v := s.readForm(entryForms, f)
			if it.Value = v.expr(); v.form == "value" {
				it.policy = v.policy
			}
		case listNode:
			s.invalid(f, entryWant)
		default:
			it.Value = Expr{{Literal: f.value.text}}
		}
		items = append(items, it)
	}
	return items
}

const entryWant = "text, a number, true or false, or one of {secret: ID}, {oauth: CLIENT}, {request: {…}} and {value: text}"

// expr returns the value of an entry or a file.
func (v *spec) expr() Expr {
	if !slices.Contains(kinds, v.form) {
		return v.literal
	}
	r := v.Reference
	return Expr{{Reference: &r}}
}

// expr reads a text with the syntax of all values.
func (s *source) expr(n node) Expr {
	t := scanner{src: s, text: s.scalar(n), at: s.mapOffsets(n)}
	return t.template(false)
}

// mapOffsets tells where the bytes of a text are in the file. One that is
// not written there byte for byte, since it has escapes or several lines, is
// all at its start.
func (s *source) mapOffsets(n node) func(int) int {
	verbatim := n.off
	if strings.HasPrefix(s.text[n.off:], `"`) || strings.HasPrefix(s.text[n.off:], "'") {
		verbatim++
	}
	if strings.HasPrefix(s.text[verbatim:], n.text) {
		return func(off int) int { return verbatim + off }
	}
	return func(int) int { return n.off }
}
