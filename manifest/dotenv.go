package manifest

import "strings"

// A dotenv reads a .env-style file:
//
//	file    = { blank line | comment | [ "export" ] NAME [ ( "=" | ": " ) value ] [ comment ] }
//	value   = text | "'" literal "'" | "`" literal "`" | '"' text with escapes '"'
//	comment = "#" to the end of the line; after text, with white space before it
//
// docs/manifest.md has the rules in words.
type dotenv struct{ scanner }

// blanks are white space within a line.
const blanks = " \t\v\f\r"

func parseDotenv(s *source) []item {
	d := dotenv{scanner{src: s, text: s.text, at: func(off int) int { return off }}}
	var items []item
	for d.off < len(d.text) {
		switch c := d.peek(); {
		case c == '#':
			d.off = d.find('\n')
		case c == '\n' || isBlank(c):
			d.off++
		default:
			faults := len(s.fault)
			if it, ok := d.entry(); ok {
				items = append(items, it)
			}
			if len(s.fault) > faults {
				d.off = d.find('\n')
			}
		}
	}
	checkNames(items)
	return items
}

// entry reads one entry. ok is false if its name is at fault.
func (d *dotenv) entry() (it item, ok bool) {
	const write = "write NAME=value; a value of several lines needs quotes around it"
	d.export()
	at := d.off
	name, space := d.skip(isName), d.skip(isBlank)
	it = item{Entry: Entry{Name: name, Pos: d.src.position(at)}, place: place{d.src, at}}
	switch c := d.peek(); {
	case name == "" && c == '=':
		d.fail(at, "missing name before =", "write NAME=value")
	case name == "":
		d.fail(at, "expected the name of a variable", write)
	case !isNameStart(name[0]):
		d.fail(at, "a name starts with a digit", nameHint)
	case c == '=' || c == ':' && (d.off+1 == len(d.text) || d.text[d.off+1] == '\n' || isBlank(d.text[d.off+1])):
		d.show(at, d.off+1)
		d.off++
		it.Value = d.value()
		return it, true
	case c == 0 || c == '\n' || c == '#' && space != "":
		d.show(at, at+len(name))
		it.Value = inherit(name)
		return it, true
	case c == ':':
		d.fail(d.off, `":" after the name is not followed by a space`, "write NAME=value or NAME: value")
	case space != "":
		d.fail(d.off, "expected = after the name", write)
	default:
		d.fail(d.off, "invalid character in a name", nameHint)
	}
	return it, false
}

// export reads the word that lets a shell read the file too, which may be a name as well.
func (d *dotenv) export() {
	after, ok := strings.CutPrefix(d.text[d.off:], "export")
	name := strings.TrimLeft(after, blanks)
	if ok && len(name) < len(after) && name != "" && isName(name[0]) {
		at := len(d.text) - len(name)
		d.show(d.off, at)
		d.off = at
	}
}

func (d *dotenv) value() Expr {
	start := d.off
	d.skip(isBlank)
	from := d.off
	if quote := d.peek(); quote == '\'' || quote == '"' || quote == '`' {
		end := from + 1
		for ; end < len(d.text) && d.text[end] != quote; end++ {
			if d.text[end] == '\\' && quote != '`' {
				end++ // whatever it is
			}
		}
		if end >= len(d.text) {
			d.fail(from, "the quote is not closed", "write the same quote at the end of the value")
			d.off = len(d.text)
			return nil
		}
		d.show(from, from+1)
		d.show(end, end+1)
		value := d.quoted(quote, from+1, end)
		d.off = end + 1
		d.skip(isBlank)
		if c := d.peek(); c != 0 && c != '\n' && c != '#' {
			d.fail(d.off, "text after the closing quote", `write quotes around the whole value, or \" for a quote in it`)
		}
		d.off = d.find('\n')
		return value
	}
	d.off = d.find('\n')
	text := d.text[start:d.off]
	for i := 1; i < len(text); i++ {
		if text[i] == '#' && isBlank(text[i-1]) {
			text = text[:i]
		}
	}
	return d.scan(from, max(from, start+len(strings.TrimRight(text, blanks))), false)
}

func (d *dotenv) quoted(quote byte, from, end int) Expr {
	literal := d.text[from:end]
	switch quote {
	case '"':
		return d.scan(from, end, true)
	case '\'':
		literal = strings.ReplaceAll(literal, `\'`, `'`)
	}
	if literal == "" {
		return nil
	}
	return Expr{{Literal: literal}}
}

// scan reads text[from:end], in which backslashes may be escapes.
func (d *dotenv) scan(from, end int, escapes bool) Expr {
	t := scanner{src: d.src, text: d.text[:end], at: d.at, off: from, escapes: escapes}
	return t.template(false)
}

func isBlank(c byte) bool { return c != 0 && strings.IndexByte(blanks, c) >= 0 }
