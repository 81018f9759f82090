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
	d.export()
	it = item{place: place{d.src, d.off}}
	it.Name = d.entryName()
	it.Pos = d.src.position(it.off)
	if it.Name == "" {
		return it, false
	}
	nameEnd := d.off
	d.blanks()
	switch {
	case d.peek() == '=':
	case d.peek() == ':' && (d.off+1 == len(d.text) || d.text[d.off+1] == '\n' || isBlank(d.text[d.off+1])):
	case d.peek() == '\n' || d.peek() == '#' && d.off > nameEnd || d.off == len(d.text):
		d.show(it.off, nameEnd)
		it.Value = inherit(it.Name)
		return it, true
	case d.peek() == ':':
		d.fail(d.off, `":" after the name is not followed by a space`, "write NAME=value or NAME: value")
		return it, false
	case d.off > nameEnd:
		d.fail(d.off, "expected = after the name", "write NAME=value; a value of several lines needs quotes around it")
		return it, false
	default:
		d.fail(d.off, "a character that cannot be in a name", nameHint)
		return it, false
	}
	d.show(it.off, d.off+1)
	d.off++
	it.Value = d.value()
	return it, true
}

// export reads the word that lets a shell read the file too.
func (d *dotenv) export() {
	const word = "export"
	from := d.off
	if !strings.HasPrefix(d.text[d.off:], word) {
		return
	}
	d.off += len(word)
	d.blanks()
	if d.off == from+len(word) || !isName(d.peek()) {
		d.off = from // a variable of that name
		return
	}
	d.show(from, d.off)
}

func (d *dotenv) entryName() string {
	from := d.off
	for isName(d.peek()) {
		d.off++
	}
	switch {
	case d.off == from && d.peek() == '=':
		d.fail(from, "no name before =", "write NAME=value")
	case d.off == from:
		d.fail(from, "expected the name of a variable", "write NAME=value; a value of several lines needs quotes around it")
	case !isNameStart(d.text[from]):
		d.fail(from, "a name starts with a digit", nameHint)
	default:
		return d.text[from:d.off]
	}
	return ""
}

func (d *dotenv) value() Expr {
	afterName := d.off
	d.blanks()
	switch quote := d.peek(); quote {
	case '\'', '"', '`':
		from := d.off
		end := d.closing(quote)
		if end < 0 {
			d.fail(from, "the quote is not closed", "write the same quote at the end of the value")
			d.off = len(d.text)
			return nil
		}
		d.show(from, from+1)
		d.show(end, end+1)
		value := d.quoted(quote, from+1, end)
		d.off = end + 1
		d.blanks()
		if d.off < len(d.text) && d.peek() != '\n' && d.peek() != '#' {
			d.fail(d.off, "text after the closing quote", `write quotes around the whole value, or \" for a quote in it`)
		}
		d.off = d.find('\n')
		return value
	}
	from, end := d.off, d.find('\n')
	for i := max(afterName+1, from); i < end; i++ {
		if d.text[i] == '#' && isBlank(d.text[i-1]) {
			end = i
			break
		}
	}
	d.off = d.find('\n')
	end = from + len(strings.TrimRight(d.text[from:end], blanks))
	return d.scan(from, end, false)
}

// closing returns where the quote that is at d.off ends, or -1. A backslash
// keeps a quote from ending the value, but for a back quote.
func (d *dotenv) closing(quote byte) int {
	for i := d.off + 1; i < len(d.text); i++ {
		switch d.text[i] {
		case quote:
			return i
		case '\\':
			if quote != '`' {
				i++
			}
		}
	}
	return -1
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

func (d *dotenv) blanks() {
	for isBlank(d.peek()) {
		d.off++
	}
}

// blanks are white space within a line.
const blanks = " \t\v\f\r"

func isBlank(c byte) bool { return c != 0 && strings.IndexByte(blanks, c) >= 0 }
