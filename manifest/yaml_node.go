package manifest

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

// A node is a part of a YAML file: a scalar, a mapping or a list.
type node struct {
	kind   nodeKind
	off    int    // where it starts
	text   string // of a scalar: numbers and booleans verbatim
	fields []field
	list   []node
}

// A field is a key of a mapping and its value.
type field struct {
	key   string
	off   int // of the key
	value node
}

type nodeKind int

const (
	nullNode nodeKind = iota
	textNode
	numberNode
	boolNode
	listNode
	mapNode
	queryNode // a text of a query, which may stand for each kind of scalar
)

// scalarKinds are the kinds of plain scalars by YAML tag. All others, such as
// dates, are text.
var scalarKinds = map[string]nodeKind{"!!null": nullNode, "!!bool": boolNode, "!!int": numberNode, "!!float": numberNode}

// A yamlFile reads the YAML form of a manifest.
type yamlFile struct {
	*source
	starts  []int // of lines as YAML counts them
	refused bool  // the file cannot be used
	// last is the latest position that was looked up: positions come in order, and
	// a line of a million characters is walked once.
	last struct{ line, column, off int }
}

const textHint = `put quotes around a text that has { } [ ] , # or ": " in it, or starts with a special character`

// read returns the root of the file, or a null node if the file has only
// comments. ok is false if the file is not YAML or has YAML that is not supported.
func (y *yamlFile) read() (root node, ok bool) {
	y.starts = []int{0}
	for i, r := range y.text {
		switch r {
		case '\n', '\r', '\u0085', '\u2028', '\u2029':
			y.starts = append(y.starts, i+utf8.RuneLen(r))
		}
	}
	if place := directive.FindStringIndex(y.text); place != nil {
		y.refuse(place[1]-1, "YAML directives are not supported", "delete the line")
		return node{}, false
	}
	loader, err := yaml.NewLoader(strings.NewReader(y.text), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(6))))
	var document, second yaml.Node
	if err == nil {
		err = loader.Load(&document)
	}
	if err == nil {
		root = y.node(document.Content[0], false)
		err = loader.Load(&second)
	}
	switch {
	case err == nil:
		y.refuse(y.offset(second.Line, second.Column), "a second document", "write it into a file of its own, and pass both with -m")
	case !errors.Is(err, io.EOF):
		y.failSyntax(err)
	}
	return root, !y.refused
}

// refuse records that the file cannot be used at all.
func (y *yamlFile) refuse(off int, message, hint string) {
	y.fail(off, message, hint)
	y.refused = true
}

// directive matches a file whose first line of content starts with %.
var directive = regexp.MustCompile(`\A(?:[ \t]*(?:#.*)?\n)*%`)

// node converts n, and records anchors, tags and other YAML that is not supported. It
// shows keys, except in a list, where they may be values with a colon.
func (y *yamlFile) node(n *yaml.Node, inList bool) node {
	out := node{off: y.offset(n.Line, n.Column), text: n.Value}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		y.failAnchor(out.off)
	case n.Style&yaml.TaggedStyle != 0 || n.Tag == "!":
		y.refuse(out.off, "tags are not supported", textHint)
	}
	switch n.Kind {
	case yaml.MappingNode:
		out.kind = mapNode
		seen := map[string]int{}
		if n.Style&yaml.FlowStyle != 0 && !inList {
			y.show(out.off, out.off+1, true)
		}
		for i := 0; i < len(n.Content); i += 2 {
			f := field{n.Content[i].Value, y.key(n, n.Content[i], inList), y.node(n.Content[i+1], inList)}
			if first, twice := seen[f.key]; twice {
				y.fail(f.off, "duplicate key", duplicateHint(y.position(first)))
				continue
			}
			seen[f.key] = f.off
			out.fields = append(out.fields, f)
		}
	case yaml.SequenceNode:
		out.kind = listNode
		for _, c := range n.Content {
			out.list = append(out.list, y.node(c, true))
		}
	default:
		out.kind = textNode
		if kind, ok := scalarKinds[n.Tag]; ok {
			out.kind = kind
		}
	}
	return out
}

// key checks and shows a key of a mapping, and returns where it is.
func (y *yamlFile) key(mapping, n *yaml.Node, inList bool) int {
	flow := mapping.Style&yaml.FlowStyle != 0
	off := y.offset(n.Line, n.Column)
	before := strings.TrimRight(y.text[:off], " \t")
	switch {
	case n.Anchor != "" || n.Tag == "!!merge":
		y.failAnchor(off)
	case n.Kind != yaml.ScalarNode || n.Style&yaml.TaggedStyle != 0:
		y.refuse(off, "a key is not a name", textHint)
	case flow && strings.HasSuffix(before, "?"):
		y.refuse(len(before)-1, `keys with "?" are not supported`, "write NAME: value")
	case !flow && mapping.Column != n.Column:
		explicit := y.offset(n.Line, min(mapping.Column, n.Column))
		y.refuse(explicit, `keys with "?" are not supported`, "write NAME: value")
	}
	if before = strings.TrimRight(before, "\n \t"); flow && strings.HasSuffix(before, ",") {
		y.show(len(before)-1, len(before), true)
	}
	if validName(n.Value) && !inList {
		y.showKey(off, n.Value)
	}
	return off
}

// showKey shows a key and the colon after it.
func (s *source) showKey(off int, key string) {
	rest := s.text[off:]
	for _, quote := range []string{"", `"`, "'"} {
		after, ok := strings.CutPrefix(rest, quote+key+quote)
		after = strings.TrimLeft(after, " \t")
		if ok && strings.HasPrefix(after, ":") {
			s.show(off, len(s.text)-len(after)+1, true)
		}
	}
}

func (y *yamlFile) failAnchor(off int) {
	y.refuse(off, "anchors, aliases and merge keys are not supported", "write the value out; "+textHint)
}

// syntaxErrors are the words for what the YAML parser says. Its own texts may
// quote a value.
var syntaxErrors = map[string]string{
	"mapping values are not allowed in this context":         `unexpected ":"`,
	"block sequence entries are not allowed in this context": `unexpected "-"`,
	"found unexpected end of stream":                         "the quote is not closed",
	"found unknown escape character":                         "unknown escape after the backslash",
	"found character that cannot start any token":            "a text cannot start with this character",
	"could not find expected ':'":                            `missing ":" after the key`,
	"did not find expected ',' or '}'":                       `missing "," or "}"`,
	"did not find expected ',' or ']'":                       `missing "," or "]"`,
	"did not find expected key":                              "expected a key: is the indentation right?",
	"did not find expected node content":                     "expected a value",
	"exceeded max depth of 6":                                "too many { or levels of indentation",
}

// failSyntax records an error of the YAML parser.
func (y *yamlFile) failSyntax(err error) {
	e, ok := errors.AsType[*yaml.LoadError](err)
	if !ok {
		y.refuse(0, "invalid YAML", textHint)
		return
	}
	mark := e.Mark
	if e.Stage == yaml.ScannerStage && e.ContextMark.Line > 0 {
		mark = e.ContextMark // of a text that is not closed, where it starts
	}
	off := y.offset(mark.Line, mark.Column)
	switch {
	case e.Stage == yaml.ReaderStage:
		off = max(0, strings.IndexFunc(y.text, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\n\r\u0085", r) }))
		y.refuse(off, "a control character", `write it as \xNN between double quotes`)
	case e.Stage == yaml.ComposerStage: // of an alias, nothing else
		y.failAnchor(off)
	case syntaxErrors[e.Message] != "":
		y.refuse(off, "invalid YAML: "+syntaxErrors[e.Message], textHint)
		if strings.HasPrefix(y.text[off:], ":") {
			y.show(off, off+1, true)
		}
	default:
		y.refuse(off, "invalid YAML", textHint)
	}
	y.showLine(off)
}

// showLine shows the key that starts the line of a syntax error, if it is one:
// the text up to its colon is YAML.
func (y *yamlFile) showLine(off int) {
	start := strings.LastIndexByte(y.text[:off], '\n') + 1
	name, _, ok := strings.Cut(y.text[start:], ":")
	indent := len(name) - len(strings.TrimLeft(name, " "))
	if !ok || !validName(name[indent:]) {
		return
	}
	var document yaml.Node
	if yaml.Load([]byte(y.text[:start+len(name)+1]), &document) != nil {
		return
	}
	for n := &document; len(n.Content) > 0; {
		if n.Kind == yaml.MappingNode {
			if k := n.Content[len(n.Content)-2]; y.offset(k.Line, k.Column) == start+indent {
				y.showKey(start+indent, k.Value)
			}
		}
		n = n.Content[len(n.Content)-1]
	}
}

// offset returns where a position of the YAML parser is. It counts columns in
// characters.
func (y *yamlFile) offset(line, column int) int {
	if line > len(y.starts) {
		return len(y.text)
	}
	line, column = max(line, 1), max(column, 1)
	if line != y.last.line || column < y.last.column {
		y.last.line, y.last.column, y.last.off = line, 1, y.starts[line-1]
	}
	for y.last.column < column && y.last.off < len(y.text) {
		_, n := utf8.DecodeRuneInString(y.text[y.last.off:])
		y.last.off += n
		y.last.column++
	}
	return y.last.off
}
