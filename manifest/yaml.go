package manifest

import (
	_ "embed"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (2020-12) of the YAML form. It describes the
// structure; the grammar within a string is only in the parser.
func Schema() []byte { return slices.Clone(schema) }

// A yamlFile reads
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
type yamlFile struct {
	*source
	// last is the latest offset that was asked for: a line of a million
	// tokens is walked once.
	last struct{ line, column, off int }
}

var (
	topKeys  = []string{"version", "env", "files", "oauth", "refresh", "exec"}
	listKeys = []string{scopesKey, StripKey, AllowKey, commandKey}
	// referenceKeys are those of references of all kinds.
	referenceKeys = slices.Concat(kinds, targetKeys[KindSecret], targetKeys[KindOAuth], []string{"room", "field"}, attributeKeys(KindOAuth))
)

const (
	typeHint = "write text, a number, true or false, or one of {secret: ID}, {oauth: CLIENT}, {request: {…}} and {value: text}"
	fromHint = "write {from: PARTICIPANT, url: URL, type: TYPE}"
	textHint = "a text with { } [ ] , # or \": \" in it needs quotes"
)

func parseYAML(s *source, over *settings) layer {
	y := &yamlFile{source: s}
	tokens := lexer.Tokenize(s.text)
	if !y.checkTokens(tokens) {
		return layer{}
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		y.failSyntax(err)
		return layer{}
	}
	var l layer
	version := false
	for _, document := range file.Docs {
		if document.Body == nil {
			continue
		}
		for _, f := range y.fields(document.Body, "the manifest", "write version: 1 and env: at the start of lines") {
			switch f.key {
			case "version":
				version = true
				if !isNumber(f.value, 1) {
					y.fail(y.offset(f.value.GetToken()), "unknown version", "this program knows version: 1")
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
	}
	checkNames(l.items)
	if !version && y.fault == nil {
		y.fail(0, "the version is missing", "write version: 1 at the top")
	}
	return l
}

func isNumber(n ast.Node, want uint64) bool {
	switch n := n.(type) {
	case *ast.IntegerNode:
		return n.Value == want
	case *ast.FloatNode:
		return n.Value == float64(want)
	}
	return false
}

// checkTokens refuses what this format has no use for before the parser, which
// is recursive, sees it: anchors and what else could nest or multiply. Lists are
// only those of listKeys, and in no other list.
func (y *yamlFile) checkTokens(tokens token.Tokens) bool {
	const (
		maxNesting = 6
		maxKeys    = 10_000 // the parser's time grows with the square: this is a quarter of a second
		quote      = "put quotes around a text that starts with such a character"
	)
	start := len(y.fault)
	nesting, documents, keys, line := 0, 0, 0, 0
	list, flow := false, false // one entry in a line or [a, b]
	for _, t := range tokens {
		at := y.offset(t)
		if keys > maxKeys {
			y.fail(at, "more than 10000 keys", "a .env-style file may have more")
			return false
		}
		switch t.Type {
		case token.MappingValueType:
			list = false
			y.showAt(at, ":")
			if !flow {
				y.showKey(t.Prev)
			}
			if nesting == 0 && line == t.Position.Line {
				y.fail(at, `a second ":" in the line`, textHint)
			}
			line = t.Position.Line
			keys++
		case token.MappingStartType:
			y.showAt(at, "{")
			if nesting++; nesting > maxNesting {
				y.fail(at, "too many { inside each other", typeHint)
				return false
			}
		case token.MappingEndType:
			y.showAt(at, "}")
			nesting--
		case token.CollectEntryType:
			keys++
			y.showAt(at, ",")
		case token.SequenceEntryType, token.SequenceStartType:
			first := isListKey(t.Prev)
			if !first && (!list || t.Type == token.SequenceStartType || t.Prev.Position.Line == t.Position.Line) {
				y.fail(at, "a list is not known here", "write NAME: value, and "+quote)
			}
			list = t.Type == token.SequenceEntryType
			flow = !list
		case token.SequenceEndType:
			flow = false
		case token.MappingKeyType:
			y.fail(at, `"?" keys are not known here`, "write NAME: value, and "+quote)
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			y.fail(at, "anchors, aliases and merge keys are not known here", "write the value out; "+quote)
		case token.TagType:
			y.fail(at, "tags are not known here", quote)
		case token.DirectiveType:
			y.fail(at, "directives are not known here", quote)
		case token.DocumentHeaderType:
			if documents++; documents > 1 || t.Prev != nil && t.Prev.Type != token.CommentType {
				y.fail(at, "a second document", "one file is one manifest: give the other to -m too")
			}
		}
	}
	return len(y.fault) == start
}

// isListKey reports whether t is the colon after a key whose value is a list.
func isListKey(t *token.Token) bool {
	return t != nil && t.Type == token.MappingValueType && t.Prev != nil && slices.Contains(listKeys, t.Prev.Value)
}

// showAt shows want, if that is what is there: the scanner's positions are not
// always right.
func (y *yamlFile) showAt(off int, want string) {
	if strings.HasPrefix(y.text[off:], want) {
		y.show(off, off+len(want), true)
	}
}

// showKey shows the key before a colon, unless it may be a value with a colon
// in it.
func (y *yamlFile) showKey(key *token.Token) {
	if key == nil || !validName(key.Value) {
		return
	}
	if p := key.Prev; p != nil && p.Position.Line == key.Position.Line &&
		p.Type != token.MappingStartType && p.Type != token.CollectEntryType {
		return
	}
	for _, quote := range []string{"", `"`, "'"} {
		y.showAt(y.offset(key), quote+key.Value+quote)
	}
}

// failSyntax records an error of the YAML parser, without what it quotes.
func (y *yamlFile) failSyntax(err error) {
	var e yaml.Error
	if !errors.As(err, &e) || e.GetToken() == nil {
		y.fail(0, "is not YAML", "")
		return
	}
	message, _, _ := strings.Cut(e.GetMessage(), `"`)
	y.fail(y.offset(e.GetToken()), "is not YAML: "+strings.TrimRight(message, ": "),
		textHint)
}

// A field is a key of a mapping and its value.
type field struct {
	key   string
	off   int
	value ast.Node
}

// fields returns the fields of a mapping, whose keys are unique.
func (y *yamlFile) fields(n ast.Node, what, hint string) []field {
	mapping, ok := n.(ast.MapNode)
	if !ok {
		y.fail(y.offset(n.GetToken()), what+" is not a mapping", hint)
		return nil
	}
	var fields []field
	seen := map[string]int{}
	for it := mapping.MapRange(); it.Next(); {
		t := it.Key().GetToken()
		f := field{t.Value, y.offset(t), it.Value()}
		if first, twice := seen[f.key]; twice {
			y.fail(f.off, "the key is there twice", duplicateHint(y.position(first)))
			continue
		}
		seen[f.key] = f.off
		fields = append(fields, f)
	}
	return fields
}

func (y *yamlFile) env(n ast.Node) []item {
	var items []item
	for _, f := range y.fields(n, "env", "write NAME: value, indented, below env:") {
		if !validName(f.key) {
			y.fail(f.off, "the name is not valid", nameHint)
			continue
		}
		it := item{Entry{Name: f.key, Pos: y.position(f.off)}, y.source, f.off}
		switch n := f.value.(type) {
		case *ast.NullNode:
			it.Value = inherit(f.key)
		case ast.MapNode:
			it.Value, it.UpdatePolicy = y.mapping(f)
		case *ast.StringNode, *ast.LiteralNode:
			text, _ := y.scalar(n)
			t := scanner{src: y.source, text: text, at: y.mapOffsets(n, text)}
			it.Value = t.template(false)
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
		y.fail(y.offset(f.value.GetToken()), "this is not a value", typeHint)
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
	at := y.offset(f.value.GetToken())
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
		if b, ok := f.value.(*ast.BoolNode); ok && b.Value {
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
			if _, ok := f.value.(*ast.IntegerNode); !ok || message != "" {
				y.fail(y.offset(f.value.GetToken()), "the timeout is no number of seconds", hint)
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
		y.fail(y.offset(f.value.GetToken()), f.key+" is empty", hint)
	}
	return text
}

// textOf returns the text of a field that has to be one.
func (y *yamlFile) textOf(f field) (string, bool) {
	switch f.value.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return y.scalar(f.value)
	}
	y.fail(y.offset(f.value.GetToken()), f.key+" is not text", `write text, with quotes if it looks like a number: "1"`)
	return "", false
}

func (y *yamlFile) boolean(f field) bool {
	b, ok := f.value.(*ast.BoolNode)
	if !ok {
		y.fail(y.offset(f.value.GetToken()), f.key+" is neither true nor false", "write "+f.key+": true")
	}
	return ok && b.Value
}

// scalar returns the text of a scalar: of a number or boolean, as it is
// written.
func (y *yamlFile) scalar(n ast.Node) (text string, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.LiteralNode:
		text = n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		text = n.GetToken().Value
	default:
		return "", false
	}
	if strings.Contains(text, "\x00") {
		y.fail(y.offset(n.GetToken()), "a NUL character", "no variable can hold one: store it as a secret and use encoding=base64")
	}
	return text, true
}

// mapOffsets tells where the bytes of a string are in the file. One that is
// not written there byte for byte, since it has escapes or several lines, is
// all at its start.
func (y *yamlFile) mapOffsets(n ast.Node, text string) func(int) int {
	start := y.offset(n.GetToken())
	verbatim := start
	if strings.HasPrefix(y.text[start:], `"`) || strings.HasPrefix(y.text[start:], "'") {
		verbatim++
	}
	if strings.HasPrefix(y.text[verbatim:], text) {
		return func(off int) int { return verbatim + off }
	}
	return func(int) int { return start }
}

// offset returns where a token starts. The scanner counts columns in
// characters; its own offsets miss white space.
func (y *yamlFile) offset(t *token.Token) int {
	if t.Position == nil || t.Position.Line > len(y.lines) {
		return len(y.text)
	}
	line, column := max(t.Position.Line, 1), max(t.Position.Column, 1)
	if line != y.last.line || column < y.last.column {
		y.last.line, y.last.column, y.last.off = line, 1, y.lines[line-1]
	}
	for y.last.column < column && y.last.off < len(y.text) && y.text[y.last.off] != '\n' {
		_, n := utf8.DecodeRuneInString(y.text[y.last.off:])
		y.last.off += n
		y.last.column++
	}
	return y.last.off
}
