package manifest

import (
	"slices"
	"strconv"
	"strings"
	tmpl "text/template/parse"
)

const (
	callHint = `write {{ secret "ID" }}: roomenv fetches the values before the template runs`
	goHint   = "quotes, {{ }} and {{ end }} come in pairs; see docs/files.md"
)

var (
	// valueFunctions are those of a [GoTemplate] that give a value.
	valueFunctions = []string{"secret", "oauth", "env"}
	// Of those of text/template only the ones whose result is bounded by the
	// texts they are given, as package render counts them.
	functions = append([]string{
		"json", "b64enc", "urlquery", "print",
		"and", "or", "not", "len", "index", "slice", "eq", "ne", "lt", "le", "gt", "ge",
	}, valueFunctions...)
)

// A goTemplate finds what a text/template needs. There are no loops and no
// templates in it, so it takes a number of steps that is bounded by its text.
type goTemplate struct {
	*source
	at      func(off int) int
	entries []Entry
	seen    map[string]bool
}

// goTemplate returns a file with the text of a template and an entry for each call of a
// source.
func (s *source) goTemplate(f field) File {
	text, ok := s.textOf(f)
	if !ok {
		return File{}
	}
	g := &goTemplate{source: s, at: s.mapOffsets(f.value), seen: map[string]bool{}}
	tree := tmpl.New("")
	tree.Mode = tmpl.SkipFuncCheck
	trees := map[string]*tmpl.Tree{}
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		g.failParse(text, err)
		return File{}
	}
	for name, t := range trees {
		if name != "" {
			s.fail(g.at(int(t.Root.Pos)), "define and block are not supported", "write the text where it is used")
		}
	}
	g.node(tree.Root)
	return File{Text: text, Entries: g.entries}
}

// failParse records an error of the parser, without what it quotes: the text
// may hold a secret.
func (g *goTemplate) failParse(text string, err error) {
	line, message, _ := strings.Cut(strings.TrimPrefix(err.Error(), "template: :"), ": ")
	n, _ := strconv.Atoi(line)
	if i := strings.IndexAny(message, "\"'<+"); i >= 0 { // + as in U+0022
		message = strings.TrimSuffix(message[:i], "U")
	}
	rest := strings.SplitAfterN(text, "\n", max(n, 1))
	start := len(text) - len(rest[len(rest)-1])
	g.fail(g.at(start), "line "+strconv.Itoa(n)+" of the template: "+strings.TrimRight(message, ": "), goHint)
}

func (g *goTemplate) node(n tmpl.Node) {
	switch n := n.(type) {
	case *tmpl.ListNode:
		if n != nil {
			for _, c := range n.Nodes {
				g.node(c)
			}
		}
	case *tmpl.ActionNode:
		g.node(n.Pipe)
	case *tmpl.IfNode:
		g.branch(&n.BranchNode)
	case *tmpl.WithNode:
		g.branch(&n.BranchNode)
	case *tmpl.RangeNode:
		g.fail(g.at(int(n.Pos)), "range is not supported", "secrets and variables are text")
	case *tmpl.TemplateNode:
		g.fail(g.at(int(n.Pos)), "template is not supported", "write the text where it is used")
	case *tmpl.PipeNode:
		for i, c := range n.Cmds {
			g.command(c, i > 0)
		}
	case *tmpl.ChainNode:
		g.node(n.Node)
	case *tmpl.IdentifierNode:
		g.function(n, nil)
	}
}

func (g *goTemplate) branch(n *tmpl.BranchNode) {
	g.node(n.Pipe)
	g.node(n.List)
	g.node(n.ElseList)
}

// command reads a call. A value that is piped to it is not known before it runs.
func (g *goTemplate) command(c *tmpl.CommandNode, piped bool) {
	f, ok := c.Args[0].(*tmpl.IdentifierNode)
	switch {
	case !ok:
		g.node(c.Args[0])
	case piped:
		g.function(f, nil)
	default:
		g.function(f, c.Args[1:])
	}
	for _, a := range c.Args[1:] {
		g.node(a)
	}
}

func (g *goTemplate) function(f *tmpl.IdentifierNode, arguments []tmpl.Node) {
	at := g.at(int(f.Pos))
	switch {
	case !slices.Contains(functions, f.Ident):
		g.fail(at, "unknown function", didYouMean(f.Ident, functions...))
	case slices.Contains(valueFunctions, f.Ident):
		if len(arguments) == 1 {
			if argument, ok := arguments[0].(*tmpl.StringNode); ok {
				g.call(f.Ident, argument)
				return
			}
		}
		g.fail(at, f.Ident+" requires one argument, a text in quotes", callHint)
	}
}

// call adds the entry that a call of a source needs. The argument of env is a
// name; that of the others is what follows room:KIND/ in a reference.
func (g *goTemplate) call(function string, argument *tmpl.StringNode) {
	at := g.at(int(argument.Pos))
	e := Entry{Name: Call(function, argument.Text), Pos: g.position(at)}
	if g.seen[e.Name] {
		return
	}
	g.seen[e.Name] = true
	if function == "env" {
		if !validName(argument.Text) {
			g.fail(at, "invalid name", nameHint)
		}
		e.Value = inherit(argument.Text)
	} else {
		r, f := g.parseReference(SchemeRoom + ":" + function + "/" + argument.Text)
		if f != nil {
			g.fail(at, f.message, f.hint)
		} else if r.hasPolicy() {
			g.fail(at, "a reference in a template has an update policy", nestedHint)
		}
		e.Value = Expr{{Reference: &r}}
	}
	g.entries = append(g.entries, e)
}

// Call is the name of the entry for a call of function with argument in a
// [FormatTemplate].
func Call(function, argument string) string { return function + " " + strconv.Quote(argument) }
