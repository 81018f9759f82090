package manifest

import (
	_ "embed"
	"slices"
	"strconv"
	"strings"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of the YAML form. It describes the
// structure; the grammar within a string is only in the parser.
func Schema() []byte { return slices.Clone(schema) }

var (
	topKeys = []string{"version", "env", "files", "oauth", "refresh", "exec"}
	// referenceKeys are those of references of all kinds.
	referenceKeys = slices.Concat(kinds, targetKeys[KindSecret], targetKeys[KindOAuth], []string{"room", "field"}, attributeKeys(KindOAuth))
)

const (
	typeHint = "write text, a number, true or false, or one of {secret: ID}, {oauth: CLIENT}, {request: {…}} and {value: text}"
	fromHint = "write {from: PARTICIPANT, url: URL, type: TYPE}"
)

// parseYAML reads
//
//	version: 1
//	env:
//	  NAME: text | number | boolean | null | {secret: ID, ...} | {oauth: CLIENT, ...} | {request: {...}, ...} | {value: text}
//	files:
//	  PATH: text | {secret: ID, ...} | ... | {value: text} | {template: text} | {format: json, entries: {NAME: ...}}
//	oauth:
//	  CLIENT: {...}
//	refresh:
//	  interval: 60s
//	exec:
//	  mask: true
func parseYAML(s *source, over *settings) layer {
	y := &yamlFile{source: s}
	root, ok := y.read()
	if !ok {
		return layer{}
	}
	var l layer
	version := false
	for _, f := range y.fields(root, "the manifest", "write version: 1 and env: at the start of lines") {
		switch f.key {
		case "version":
			version = true
			if !f.value.isNumber(1) {
				y.fail(f.value.off, "unknown version", "this program knows version: 1")
			}
		case "env":
			l.items = append(l.items, y.env(f.value)...)
		case "files":
			l.items = append(l.items, y.filesOf(f.value)...)
		case "oauth":
			l.clients = y.clients(f.value)
		case "refresh":
			y.refreshing(f.value, over)
		case "exec":
			y.exec(f.value, over)
		default:
			y.fail(f.off, "unknown key", didYouMean(f.key, topKeys...))
		}
	}
	checkNames(l.items)
	if !version && y.fault == nil {
		y.fail(0, "the version is missing", "write version: 1 at the top")
	}
	return l
}

func (n node) isNumber(want float64) bool {
	value, err := strconv.ParseFloat(n.text, 64)
	return n.kind == numberNode && err == nil && value == want
}

func (n node) isTrue() bool { return n.kind == boolNode && strings.EqualFold(n.text, "true") }

// mismatch records that n is not what the format wants.
func (y *yamlFile) mismatch(n node, message, hint string) {
	if n.kind == listNode {
		message = "a list is not supported here"
	}
	y.fail(n.off, message, hint)
}

// fields returns the fields of a mapping.
func (y *yamlFile) fields(n node, what, hint string) []field {
	if n.kind != mapNode {
		y.mismatch(n, what+" is not a mapping", hint)
	}
	return n.fields
}

func (y *yamlFile) env(n node) []item {
	var items []item
	for _, f := range y.fields(n, "env", "write NAME: value, indented, below env:") {
		if !validName(f.key) {
			y.fail(f.off, "the name is not valid", nameHint)
			continue
		}
		it := item{Entry{Name: f.key, Pos: y.position(f.off)}, y.source, f.off}
		switch f.value.kind {
		case nullNode:
			it.Value = inherit(f.key)
		case mapNode:
			it.Value, it.UpdatePolicy = y.mapping(f)
		case textNode:
			it.Value = y.expr(f.value)
		default:
			it.Value = y.literal(f)
		}
		items = append(items, it)
	}
	return items
}

// literal is a value in which nothing is interpreted.
func (y *yamlFile) literal(f field) Expr {
	text, ok := y.scalar(f.value)
	if !ok {
		y.mismatch(f.value, "this is not a value", typeHint)
	}
	if text == "" {
		return nil
	}
	return Expr{{Literal: text}}
}

// mapping reads {value: text} or a reference: {secret: ID, ...} and its like.
// The Keeping of a reference is in it.
func (y *yamlFile) mapping(env field) (Expr, UpdatePolicy) {
	kept, fields := y.keeping(y.fields(env.value, "", ""))
	value := y.value(env, fields)
	if len(value) == 1 && value[0].Reference != nil {
		value[0].Reference.UpdatePolicy, kept = kept, UpdatePolicy{}
	}
	return value, kept
}

// value reads what gives one value, the fields of env or some of them.
func (y *yamlFile) value(env field, fields []field) Expr {
	form := ""
	for _, f := range fields {
		if f.key == "value" || form == "" && slices.Contains(kinds, f.key) {
			form = f.key
		}
	}
	kind := Kind(form)
	known := []string{"value"}
	switch {
	case form == "":
		known = slices.Concat(known, referenceKeys)
	case form == "value":
		known = append(known, onChangeKey)
	case kind == KindRequest:
		known = slices.Concat([]string{form, "room", "field"}, attributeKeys(kind))
	default:
		known = slices.Concat([]string{form, "room", "field"}, queryKeys(kind))
	}
	faults := len(y.fault)
	r := Reference{Target: Target{Scheme: SchemeRoom, Path: form + "/"}}
	var value Expr
	for _, f := range fields {
		switch {
		case slices.Contains(known, f.key) && f.key == "value":
			value = y.literal(f)
		case slices.Contains(known, f.key):
			y.reference(&r, f)
		case isQueryKey(f.key) || slices.Contains(kinds, f.key) || f.key == "room" || f.key == "field":
			y.fail(f.off, f.key+" does not go with "+form, typeHint)
		case f.key == reservedKey:
			y.fail(f.off, reservedKeyMessage, reservedKeyHint)
		default:
			y.fail(f.off, "unknown key", didYouMean(f.key, known...))
		}
	}
	switch {
	case form == "value":
		return value
	case form == "":
		if len(y.fault) == faults {
			y.fail(env.off, "none of secret, oauth, request and value", typeHint)
		}
		return nil
	}
	if r.Mode != 0 && r.File == "" && len(y.fault) == faults {
		y.fail(env.off, "mode is there without file", "write file: PATH too")
	}
	return Expr{{Reference: &r}}
}

// reference sets one field of r.
func (y *yamlFile) reference(r *Reference, f field) {
	at := f.value.off
	switch f.key {
	case "optional":
		r.Optional = y.boolean(f)
		return
	case expiresAtKey:
		r.ExpiresAt = y.boolean(f)
		return
	case "default":
		text, ok := y.scalar(f.value)
		if !ok {
			y.fail(at, "default is not a value", "write text, a number, true or false")
		}
		r.Default = &text
		return
	case string(KindRequest):
		y.request(r, f)
		return
	case "file":
		if f.value.isTrue() {
			r.File = ownName
			return
		}
	}
	text := y.name(f)
	var message, hint string
	switch f.key {
	case string(KindSecret), string(KindOAuth):
		r.Path += text
	case "room":
		r.Group = text
		message, hint = checkRoom(text)
	case "field":
		r.Field = text
		message, hint = checkField(text)
	case "encoding":
		r.Base64 = true
		if text != "base64" {
			message, hint = "unknown encoding", "write encoding: base64, or leave it out"
		}
	case "file", "mode":
		message, hint = r.setFile(f.key, text)
	default:
		r.setParam(f.key, text)
	}
	if text != "" && message != "" {
		y.fail(at, message, hint)
	}
}

// request reads {from: PARTICIPANT, url: URL, type: TYPE, ...}.
func (y *yamlFile) request(r *Reference, request field) {
	faults := len(y.fault)
	known := append([]string{"from"}, targetKeys[KindRequest]...)
	for _, f := range y.fields(request.value, "the request", fromHint) {
		switch {
		case !slices.Contains(known, f.key):
			y.fail(f.off, "unknown key", didYouMean(f.key, known...))
		case f.key == "from":
			r.Path += y.name(f)
		case f.key == timeoutKey:
			text, _ := y.scalar(f.value)
			message, hint := r.setTimeout(text)
			if f.value.kind != numberNode || message != "" {
				y.fail(f.value.off, "the timeout is no number of seconds", hint)
			}
		default:
			r.setParam(f.key, y.name(f))
		}
	}
	message := r.incomplete()
	if r.ID() == "" {
		message = "the request does not say from whom"
	}
	if message != "" && len(y.fault) == faults {
		y.fail(request.off, message, fromHint)
	}
}

// name reads a text that is not empty. It returns "" for a fault, which is
// recorded.
func (y *yamlFile) name(f field) string {
	text, ok := y.textOf(f)
	if ok && text == "" {
		hint := "leave it out"
		if f.key == string(KindSecret) {
			hint = "write the id of the secret"
		}
		y.fail(f.value.off, f.key+" is empty", hint)
	}
	return text
}

// textOf returns the text of a field that has to be one.
func (y *yamlFile) textOf(f field) (string, bool) {
	if f.value.kind == textNode {
		return y.scalar(f.value)
	}
	y.mismatch(f.value, f.key+" is not text", `write text, with quotes if it looks like a number: "1"`)
	return "", false
}

func (y *yamlFile) boolean(f field) bool {
	if f.value.kind != boolNode {
		y.mismatch(f.value, f.key+" is neither true nor false", "write "+f.key+": true")
	}
	return f.value.isTrue()
}

// scalar returns the text of a scalar: of a number or boolean, as it is
// written.
func (y *yamlFile) scalar(n node) (text string, ok bool) {
	if strings.Contains(n.text, "\x00") {
		y.fail(n.off, "a NUL character", "no variable can hold one: store it as a secret and use encoding=base64")
	}
	return n.text, n.kind == textNode || n.kind == numberNode || n.kind == boolNode
}

// expr reads a text with the grammar of all values.
func (y *yamlFile) expr(n node) Expr {
	text, _ := y.scalar(n)
	t := scanner{src: y.source, text: text, at: y.mapOffsets(n)}
	return t.template(false)
}

// mapOffsets tells where the bytes of a text are in the file. One that is
// not written there byte for byte, since it has escapes or several lines, is
// all at its start.
func (y *yamlFile) mapOffsets(n node) func(int) int {
	verbatim := n.off
	if strings.HasPrefix(y.text[n.off:], `"`) || strings.HasPrefix(y.text[n.off:], "'") {
		verbatim++
	}
	if strings.HasPrefix(y.text[verbatim:], n.text) {
		return func(off int) int { return verbatim + off }
	}
	return func(int) int { return n.off }
}
