package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// keys is the table of the keys of a mapping that is read into a T. The reader, its
// hints, schema.json and the tables of docs/manifest.md come from it.
type keys[T any] []key[T]

// A key is a row of [keys].
type key[T any] struct {
	row
	set func(s *source, to *T, f field)
}

// A row is what a reader of the documentation wants to know of a key.
type row struct {
	name     string
	alias    string // the key that this one is another name of
	word     string // for the type of the value
	json     string // the JSON Schema of the value
	required bool   // a mapping without it is not complete
	requires string // the key that has to be beside it
	merge    string // how the value in a later file joins it; "" is that it replaces it
	doc      string
}

// on returns the row of a key whose value set stores.
func on[T, V any](name string, k kind[V], doc string, set func(to *T, v V)) key[T] {
	return key[T]{
		row{name: name, word: k.word, json: k.json, doc: doc},
		func(s *source, to *T, f field) { set(to, k.read(s, f)) },
	}
}

// needing returns k as a key that requires another.
func (k key[T]) needing(name string) key[T] {
	k.requires = name
	return k
}

// always returns k as a key that is required.
func (k key[T]) always() key[T] {
	k.required = true
	return k
}

// merging returns k as a key whose value in a later file replaces parts of that in an
// earlier one.
func (k key[T]) merging(part string) key[T] {
	k.merge = "replaces by " + part
	return k
}

func (ks keys[T]) find(name string) *key[T] {
	for i := range ks {
		if ks[i].name == name {
			return &ks[i]
		}
	}
	return nil
}

// names returns what to suggest for a misspelled key.
func (ks keys[T]) names() []string {
	var names []string
	for _, k := range ks {
		if k.alias == "" {
			names = append(names, k.name)
		}
	}
	return names
}

// read stores the values of a mapping. unknown records a key that is not in the table.
// read reports whether there was no error.
func (ks keys[T]) read(s *source, m field, to *T, unknown func(f field)) bool {
	fields, faults := m.value.fields, len(s.fault)
	for _, f := range fields {
		switch k := ks.find(f.key); {
		case k == nil:
			unknown(f)
		case k.alias != "" && has(fields, k.alias):
			s.fail(f.off, fmt.Sprintf("%s is an alias of %s: both are given", f.key, k.alias), "delete "+f.key)
		case k.requires != "" && !has(fields, k.requires):
			s.fail(f.off, f.key+" requires "+k.requires, "")
			fallthrough
		default:
			k.set(s, to, f)
		}
	}
	for _, k := range ks {
		if k.required && !has(fields, k.name) && len(s.fault) == faults {
			s.fail(m.off, "missing `"+k.name+"` in "+m.key, "")
		}
	}
	return len(s.fault) == faults
}

// readMapping is read for a mapping that has only keys of the table.
func (ks keys[T]) readMapping(s *source, f field, want string, to *T) bool {
	if f.value.kind != mapNode {
		s.invalid(f, want)
		return false
	}
	return ks.read(s, f, to, func(f field) { s.unknown(f, ks.names()) })
}

// mapping is a kind of mappings that have only keys of the table, and of which valid.
func mapping[T any](def string, ks keys[T], want string, valid func(v T) bool) kind[T] {
	return kind[T]{"mapping", `{"$ref": "#/$defs/` + def + `"}`, func(s *source, f field) (v T) {
		if ks.readMapping(s, f, want, &v) && !valid(v) {
			s.fail(f.off, "invalid "+f.key+": want "+want, "")
		}
		return v
	}}
}

func has(fields []field, key string) bool {
	return slices.ContainsFunc(fields, func(f field) bool { return f.key == key })
}

// fields returns the fields of a mapping.
func (s *source) fields(f field, want string) []field {
	if f.value.kind != mapNode {
		s.invalid(f, want)
	}
	return f.value.fields
}

// unknown records a key that is not among known.
func (s *source) unknown(f field, known []string) {
	if f.key == reservedKey {
		s.fail(f.off, "the key broker is reserved", "delete it: this version passes every value to the command")
		return
	}
	hint := ""
	if len(s.fault) < maxErrors { // as many as are printed
		hint = didYouMean(f.key, known...)
	}
	s.fail(f.off, "unknown key", hint)
}

// invalid records a value that is not what its key wants.
func (s *source) invalid(f field, want string) {
	s.fail(f.value.off, "invalid "+f.key+": want "+want, "")
}

// A kind is a type of values: how one is read, and what its JSON Schema and
// documentation say.
type kind[V any] struct {
	word, json string
	read       func(s *source, f field) V
}

const namePattern = `^[A-Za-z_][A-Za-z0-9_]*$`

var (
	boolean = kind[bool]{"boolean", `{"type": "boolean"}`, func(s *source, f field) bool {
		text := strings.ToLower(f.value.text)
		if f.value.kind != boolNode && (f.value.kind != queryNode || text != "true" && text != "false") {
			s.invalid(f, "true or false")
		}
		return text == "true"
	}}
	// verbatim is a text in which nothing is interpreted, a number or a boolean.
	verbatim = kind[string]{"text, number or boolean", `{"type": ["string", "number", "boolean"]}`, func(s *source, f field) string {
		switch f.value.kind {
		case textNode, numberNode, boolNode, queryNode:
			return s.scalar(f.value)
		}
		s.invalid(f, "text, a number, true or false")
		return ""
	}}
	plainText = scalar("text", "text", `{"type": "string", "minLength": 1}`, func(s string) (string, bool) { return s, true })
	variable  = matching("NAME", "a name of letters, digits and _, which does not start with a digit", `^[A-Za-z_][A-Za-z0-9_]*$`)
	duration  = scalar("duration", "a duration such as 10s, 1m30s or 500ms", `{"$ref": "#/$defs/duration"}`, func(s string) (time.Duration, bool) {
		d, err := time.ParseDuration(s)
		return d, err == nil && d > 0
	})
)

// scalar is a kind of text that is not empty and that parse takes.
func scalar[V any](word, want, json string, parse func(text string) (V, bool)) kind[V] {
	return kind[V]{word, json, func(s *source, f field) (v V) {
		text, ok := s.textOf(f)
		if ok && text == "" {
			s.fail(f.value.off, f.key+" is empty", "")
		} else if parsed, valid := parse(text); ok && valid {
			v = parsed
		} else if ok {
			s.invalid(f, want)
		}
		return v
	}}
}

// matching is a kind of text that has a pattern.
func matching(word, want, pattern string) kind[string] {
	re := sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
	return scalar(word, want, `{"type": "string", "pattern": `+strconv.Quote(pattern)+`}`, func(s string) (string, bool) {
		return s, re().MatchString(s)
	})
}

// oneOf is a kind of text that is one of some words.
func oneOf[V ~string](words ...V) kind[V] {
	var names []string
	for _, w := range words {
		names = append(names, string(w))
	}
	json := `{"enum": ["` + strings.Join(names, `", "`) + `"]}`
	return kind[V]{"`" + strings.Join(names, "`, `") + "`", json, func(s *source, f field) V {
		text := plainText.read(s, f)
		if text == "" || slices.Contains(names, text) {
			return V(text)
		}
		s.fail(f.value.off, "unknown "+f.key, didYouMean(text, names...))
		return ""
	}}
}

// listOf is a kind of lists.
func listOf[V any](item kind[V]) kind[[]V] {
	return kind[[]V]{"list of " + item.word, `{"type": "array", "items": ` + item.json + `}`, func(s *source, f field) []V {
		if f.value.kind != listNode {
			s.invalid(f, "a list such as [ONE, TWO]")
		}
		list := make([]V, 0, len(f.value.list))
		for _, n := range f.value.list {
			list = append(list, item.read(s, field{f.key, n.off, n}))
		}
		return list
	}}
}

// textOf returns the text of a field, whose value has to be one.
func (s *source) textOf(f field) (string, bool) {
	if f.value.kind != textNode && f.value.kind != queryNode {
		hint := ""
		if f.value.kind == numberNode || f.value.kind == boolNode {
			hint = "put quotes around it"
		}
		s.fail(f.value.off, "invalid "+f.key+": want text", hint)
		return "", false
	}
	return s.scalar(f.value), true
}

// scalar returns the text of a scalar.
func (s *source) scalar(n node) string {
	if strings.Contains(n.text, "\x00") {
		s.fail(n.off, "a NUL character", "store a value with NUL as a secret, and use encoding=base64")
	}
	return n.text
}

// didYouMean is the hint for a word that is not among known.
func didYouMean(s string, known ...string) string {
	if word := nearest(s, known...); word != "" {
		return fmt.Sprintf("did you mean %q?", word)
	}
	if len(known) == 1 {
		return "want " + known[0]
	}
	return "want one of " + strings.Join(known, ", ")
}

// nearest returns the word of known that s is probably a misspelling of, or "".
func nearest(s string, known ...string) string {
	best, found := 3, ""
	if len(s) > 64 {
		return ""
	}
	for _, k := range known {
		if d := distance(s, k); d < best && d < len(k) {
			best, found = d, k
		}
	}
	return found
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
