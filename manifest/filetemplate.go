package manifest

import (
	"slices"
	"strconv"
	"strings"
	tmpl "text/template/parse"
)

const (
	callHint = `write a text as the argument, as in {{ secret "ID" }}: what a template needs is fetched before it runs`
	goHint   = "docs/files.md has what a template can do; quotes, {{ }} and {{ end }} come in pairs"
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

// goTemplate returns the text of a template and an entry for each call of a source.
func (s *source) goTemplate(f field) (string, []Entry) {
	text, ok := s.textOf(f)
	if !ok {
		return "", nil
	}
	g := &goTemplate{source: s, at: s.mapOffsets(f.value), seen: map[string]bool{}}
	tree := tmpl.New("")
	tree.Mode = tmpl.SkipFuncCheck
	trees := map[string]*tmpl.Tree{}
	if _, err := tree.Parse(text, "", "", trees); err != nil {
		g.failParse(text, err)
		return text, nil
	}
	for name, t := range trees {
		if name != "" {
			s.fail(g.at(int(t.Root.Pos)), "define and block are not known in this template", "write the text where it is used")
		}
	}
	g.node(tree.Root)
	return text, g.entries
}

// failParse records an error of the parser, without what it quotes: the text
// may hold a secret.
func (g *goTemplate) failParse(text string, err error) {
	line, message, _ := strings.Cut(strings.TrimPrefix(err.Error(), "template: :"), ": ")
	n, _ := strconv.Atoi(line)
	if i := strings.IndexAny(message, "\"'<+"); i >= 0 { // + as in U+0022
		message = strings.TrimSuffix(message[:i], "U")
	}
	g.fail(g.at(inText(text, n)), "line "+strconv.Itoa(n)+" of the template: "+strings.TrimRight(message, ": "), goHint)
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
		g.fail(g.at(int(n.Pos)), "range is not known in this template", "there is nothing to loop over: secrets and variables are texts")
	case *tmpl.TemplateNode:
		g.fail(g.at(int(n.Pos)), "template is not known in this template", "write the text where it is used")
	case *tmpl.PipeNode:
		for i, c := range n.Cmds {
			g.command(c, i > 0)
		}
	case *tmpl.ChainNode:
		g.node(n.Node)
	case *tmpl.IdentifierNode:
		// Not the first word of a command with an argument.
		g.function(n)
		if slices.Contains(valueFunctions, n.Ident) {
			g.fail(g.at(int(n.Pos)), n.Ident+" has no argument that is a text", callHint)
		}
	}
}

func (g *goTemplate) branch(n *tmpl.BranchNode) {
	g.node(n.Pipe)
	g.node(n.List)
	g.node(n.ElseList)
}

func (g *goTemplate) command(c *tmpl.CommandNode, piped bool) {
	if f, ok := c.Args[0].(*tmpl.IdentifierNode); ok && len(c.Args) == 2 && !piped && slices.Contains(valueFunctions, f.Ident) {
		if argument, ok := c.Args[1].(*tmpl.StringNode); ok {
			g.call(f.Ident, argument)
			return
		}
	}
	for i, a := range c.Args {
		if f, ok := a.(*tmpl.IdentifierNode); ok && i == 0 && !slices.Contains(valueFunctions, f.Ident) {
			g.function(f)
			continue
		}
		g.node(a)
	}
}

func (g *goTemplate) function(n *tmpl.IdentifierNode) {
	if !slices.Contains(functions, n.Ident) {
		g.fail(g.at(int(n.Pos)), "unknown function", didYouMean(n.Ident, functions...))
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
			g.fail(at, "the name is not valid", nameHint)
		}
		e.Value = inherit(argument.Text)
	} else {
		r, f := g.parseReference(SchemeRoom + ":" + function + "/" + argument.Text)
		if f != nil {
			g.fail(at, f.message, f.hint)
		} else if r.hasPolicy() {
			g.fail(at, "a reference in a template says how it is kept current", nestedHint)
		}
		e.Value = Expr{{Reference: &r}}
	}
	g.entries = append(g.entries, e)
}

// Call is the name of the entry for a call of function with argument in a
// [FormatTemplate].
func Call(function, argument string) string { return function + " " + strconv.Quote(argument) }

// inText returns where the line that a parser counted from 1 starts in text.
func inText(text string, line int) int {
	off := 0
	for ; line > 1; line-- {
		i := strings.IndexByte(text[off:], '\n')
		if i < 0 {
			break
		}
		off += i + 1
	}
	return off
}
