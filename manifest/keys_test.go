package manifest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

type object = map[string]any

// fragment returns the JSON Schema of the value of a key.
func (r row) fragment() object {
	var o object
	if err := json.Unmarshal([]byte(r.json), &o); err != nil {
		panic(fmt.Sprintf("%s: %v", r.name, err))
	}
	o["description"] = r.doc
	return o
}

func rows[T any](ks keys[T]) []row {
	var all []row
	for _, k := range ks {
		all = append(all, k.row)
	}
	return all
}

func names(tables ...keys[spec]) []string {
	var all []string
	for _, r := range rows(join(tables...)) {
		all = append(all, r.name)
	}
	return all
}

// A plainMapping is a table of keys with what the tables do not know.
type plainMapping struct {
	title string
	rows  []row
	extra object
}

// mappings are those without forms, by their name in $defs; "" is the file.
func mappings() map[string]plainMapping {
	oneOf := func(key string, alternatives ...[]string) object {
		var all []object
		for _, keys := range alternatives {
			all = append(all, object{"required": keys})
		}
		return object{key: all}
	}
	return map[string]plainMapping{
		"":           {"Top level", rows(topKeys), nil},
		"request":    {"`request`", rows(requestKeys), nil},
		"client":     {"`oauth`: CLIENT", rows(clientKeys), oneOf("anyOf", []string{"connector"}, []string{"client_id", "authorization_endpoint", "token_endpoint"})},
		"connector":  {"`connector`", rows(connectorKeys), oneOf("anyOf", []string{"server_url"}, []string{"openai_connector_id"})},
		"refresh":    {"`refresh`", rows(refreshKeys), nil},
		"exec":       {"`exec`", rows(execKeys), nil},
		"ready":      {"`ready`", rows(readyKeys), oneOf("oneOf", []string{"command"}, []string{"tcp"})},
		"changeForm": {"`on_change`", rows(changeForms), object{"minProperties": 1, "maxProperties": 1}},
	}
}

// shared are the rows of the groups that several forms have.
func shared() map[string]row {
	all := map[string]row{}
	for _, r := range rows(join(groupKeys, attributeKeys, policyKeys, placeKeys)) {
		all[r.name] = r
	}
	return all
}

// schemaOf returns the JSON Schema of a mapping. Its keys that are in defs refer there.
func schemaOf(rows []row, extra object, defs map[string]row) object {
	properties, requires := object{}, object{}
	o := object{"type": "object", "additionalProperties": false, "properties": properties}
	var required []string
	for _, r := range rows {
		if r.required {
			required = append(required, r.name)
		}
		properties[r.name] = r.fragment()
		if defs[r.name].doc == r.doc {
			properties[r.name] = object{"$ref": "#/$defs/key." + r.name}
		}
		if r.requires != "" {
			requires[r.name] = []string{r.requires}
		}
		if r.alias != "" {
			o["not"] = object{"required": []string{r.name, r.alias}}
		}
	}
	if len(requires) > 0 {
		o["dependentRequired"] = requires
	}
	if len(required) > 0 {
		o["required"] = required
	}
	maps.Copy(o, extra)
	return o
}

// formsOf returns the JSON Schema of a mapping with forms.
func formsOf(forms []form) object {
	var o object
	for _, f := range slices.Backward(forms) {
		required := []string{f.name}
		if k := f.keys.find(f.name); k.requires != "" {
			required = append(required, k.requires)
		}
		own := schemaOf(rows(f.keys), object{"required": required}, shared())
		if o == nil {
			o = own
			continue
		}
		o = object{"if": object{"required": []string{f.name}}, "then": own, "else": o}
	}
	return o
}

func newSchema() object {
	ref := func(def string) object { return object{"$ref": "#/$defs/" + def} }
	byName := func(value object) object {
		return object{"type": "object", "propertyNames": object{"pattern": namePattern}, "additionalProperties": value}
	}
	entry := ref("entry")
	entry["propertyNames"] = object{"not": object{"enum": names(policyKeys, keys[spec]{expiresKey})}}
	defs := object{
		"env":     byName(ref("entry")),
		"entries": byName(entry),
		"files":   object{"type": "object", "propertyNames": ref("path"), "additionalProperties": ref("file")},
		"clients": object{"type": "object", "propertyNames": object{"minLength": 1}, "additionalProperties": ref("client")},
		"entry": object{
			"description": "Text with ${NAME} and ${room:secret/ID} in it, or room:secret/ID; a number or boolean as written; null for the inherited variable; or a mapping.",
			"type":        []string{"string", "number", "boolean", "null", "object"}, "if": object{"type": "object"}, "then": formsOf(entryForms),
		},
		"file": object{
			"description": "Text as for an entry, or a mapping.",
			"type":        []string{"string", "object"}, "if": object{"type": "object"}, "then": formsOf(fileForms),
		},
		"path":      object{"type": "string", "maxLength": maxPath, "pattern": pathPattern},
		"command":   object{"type": "array", "minItems": 1, "prefixItems": []object{{"type": "string", "minLength": 1}}, "items": object{"type": "string"}},
		"change":    object{"anyOf": []object{{"enum": []ChangeKind{ChangeRestart, ChangeNone}}, ref("changeForm")}},
		"duration":  object{"type": "string", "pattern": `^\+?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`, "not": object{"pattern": "^[^1-9]*$"}},
		"staleness": object{"anyOf": []object{{"const": 0}, {"type": "string", "pattern": `^\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`}}},
	}
	for name, r := range shared() {
		defs["key."+name] = r.fragment()
	}
	all := mappings()
	for name, m := range all {
		if name != "" {
			defs[name] = schemaOf(m.rows, m.extra, nil)
		}
	}
	top := schemaOf(all[""].rows, all[""].extra, nil)
	maps.Copy(top, object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"$id":         "https://github.com/roomenv/roomenv/manifest/schema.json",
		"title":       "roomenv manifest",
		"description": "Which environment variables and files a command gets, and where their values come from.",
		"$defs":       defs,
	})
	return top
}

// tables are those of docs/manifest.md.
func tables() string {
	var b strings.Builder
	table := func(title, more string, rows []row, moreOf func(row) string) {
		fmt.Fprintf(&b, "\n### %s\n\n| key | type |%s meaning |\n| --- | --- |%s --- |\n", title, more, strings.Repeat(" --- |", strings.Count(more, "|")))
		for _, r := range rows {
			doc := r.doc
			if r.requires != "" {
				doc += " Requires `" + r.requires + "`."
			}
			if r.required {
				doc += " Required."
			}
			fmt.Fprintf(&b, "| `%s` | %s |%s %s |\n", r.name, r.word, moreOf(r), doc)
		}
	}
	plain := func(m plainMapping) { table(m.title, "", m.rows, func(row) string { return "" }) }
	forms := func(title string, forms []form) {
		var all []row
		with := map[row][]string{}
		for _, f := range forms {
			for _, k := range f.keys {
				if with[k.row] == nil {
					all = append(all, k.row)
				}
				with[k.row] = append(with[k.row], "`"+f.name+"`")
			}
		}
		table(title, " beside |", all, func(r row) string {
			if len(with[r]) == len(forms) {
				return " all |"
			}
			return " " + strings.Join(with[r], ", ") + " |"
		})
	}
	m := mappings()
	table(m[""].title, " in a later file |", m[""].rows, func(r row) string { return " " + r.merge + " |" })
	forms("`env`: NAME", entryForms)
	plain(m["request"])
	forms("`files`: PATH", fileForms)
	for _, name := range []string{"changeForm", "client", "connector", "refresh", "exec", "ready"} {
		plain(m[name])
	}
	return b.String()
}

// The schema and the tables of the documentation are those of the keys. Run with -update
// after a change of the keys, and read the difference.
func TestKeys(t *testing.T) {
	var schema bytes.Buffer
	encoder := json.NewEncoder(&schema)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(newSchema()); err != nil {
		t.Fatal(err)
	}
	const page = "../docs/manifest.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- keys:begin -->\n", "<!-- keys:end -->\n"
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, found := strings.Cut(rest, end)
	if !ok || !found {
		t.Fatalf("%s has no %s and %s", page, begin, end)
	}
	for name, want := range map[string]string{"schema.json": schema.String(), page: before + begin + tables() + "\n" + end + after} {
		if flag.Lookup("update").Value.String() == "true" {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not that of the keys: run with -update", name)
		}
	}
}
