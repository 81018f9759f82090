package manifest

import (
	"strings"
	"unicode"
)

// maxDepth bounds ${A:-${B:-${C…}}}.
const maxDepth = 16

// A scanner reads the grammar that all values share: literal text, $NAME,
// ${NAME}, ${NAME:-word}, ${room:secret/ID}, $$ for a dollar sign, and a text
// that starts with the scheme of a reference and so is one.
type scanner struct {
	src     *source
	text    string
	at      func(off int) int // where a byte of text is in src
	off     int
	escapes bool // backslashes, as between double quotes
	depth   int
}

func (t *scanner) fail(off int, message, hint string) { t.src.fail(t.at(off), message, hint) }
func (t *scanner) show(from, to int)                  { t.src.show(t.at(from), t.at(to), true) }
func (t *scanner) hide(from, to int)                  { t.src.show(t.at(from), t.at(to), false) }

// template reads to the end of the text, or in an operand to the "}" that closes
// it.
func (t *scanner) template(operand bool) Expr {
	if t.src.of(t.text[t.off:]) != "" {
		end := len(t.text)
		if operand {
			end = t.find('}')
		}
		if r := t.reference(end); r != nil {
			return Expr{{Reference: r}}
		}
		return nil
	}
	var value Expr
	var literal []byte
	flush := func() {
		if len(literal) > 0 {
			value, literal = append(value, Part{Literal: string(literal)}), nil
		}
	}
	for braces := 0; t.off < len(t.text); {
		c := t.text[t.off]
		switch {
		case c == '$':
			if part := t.dollar(); part.Literal != "" {
				literal = append(literal, part.Literal...)
			} else if part.Reference != nil || part.Variable != nil {
				flush()
				value = append(value, part)
			}
			continue
		case c == '\\' && t.escapes:
			c = t.escape()
		case operand && c == '{': // an operand may be JSON
			braces++
		case operand && c == '}':
			if braces--; braces < 0 {
				flush()
				return value
			}
		}
		literal = append(literal, c)
		t.off++
	}
	flush()
	return value
}

// escape returns the byte that the backslash at off and the byte after it stand for, of
// which it goes to the last. The escapes are those of docker compose; every other backslash
// stays.
func (t *scanner) escape() byte {
	const written, meant = `abfnrtv\"$`, "\a\b\f\n\r\t\v\\\"$"
	if t.off+1 < len(t.text) {
		if i := strings.IndexByte(written, t.text[t.off+1]); i >= 0 {
			t.off++
			return meant[i]
		}
	}
	return '\\'
}

// dollar reads what a "$" starts. The zero Part is a fault that is recorded.
func (t *scanner) dollar() Part {
	start := t.off
	t.off++
	switch {
	case t.off == len(t.text):
	case t.text[t.off] == '$':
		t.off++
	case t.text[t.off] == '{':
		t.off++
		return t.braced(start)
	case isNameStart(t.text[t.off]):
		// Not shown: it may be the end of a password with a dollar sign.
		return Part{Variable: &Variable{Name: t.skip(isName)}}
	}
	return Part{Literal: "$"}
}

// braced reads the rest of "${…}"; "${" is at start.
func (t *scanner) braced(start int) Part {
	const write = "write ${NAME} or ${NAME:-word}, and $$ for a dollar sign"
	t.show(start, t.off)
	at, end := t.off, t.find('}')
	v := &Variable{}
	if isNameStart(t.peek()) {
		v.Name = t.skip(isName)
	}
	operator := t.off
	if t.peek() == ':' {
		t.off++
	}
	if c := t.peek(); c == '-' || c == '+' || c == '?' {
		t.off++
	}
	v.Operator = t.text[operator:t.off]
	// fail goes past the next "}".
	fail := func(off int, message, hint string) Part {
		t.fail(off, message, hint)
		t.off = min(t.find('}')+1, len(t.text))
		return Part{}
	}
	switch {
	case end == len(t.text):
		t.off = end
		return fail(start, `"${" is not closed`, closeHint)
	case t.src.of(t.text[at:]) != "" && (v.Operator == "" || v.Operator == ":"):
		t.off = at
		r := t.reference(end)
		t.show(end, end+1)
		t.off = end + 1
		return Part{Reference: r}
	case v.Name == "":
		return fail(at, `"${" needs the name of a variable or a reference`, "write ${NAME} or ${room:secret/ID}, and $$ for a dollar sign")
	case v.Operator == ":":
		return fail(at, "unknown scheme", t.src.hint(v.Name)+"; a default is ${NAME:-word}")
	}
	if v.Operator != "" {
		t.show(at, t.off)
		if t.depth++; t.depth > maxDepth {
			t.off = len(t.text)
			return fail(start, "too many ${ inside each other", "give the inner ones names of their own")
		}
		faults := len(t.src.fault)
		v.Operand = t.template(true)
		t.depth--
		if t.peek() != '}' {
			if len(t.src.fault) == faults {
				t.fail(start, `"${" is not closed`, closeHint)
			}
			return Part{}
		}
	}
	if t.peek() != '}' {
		return fail(t.off, `invalid character in "${…}"`, write)
	}
	t.show(at, at+len(v.Name))
	t.show(t.off, t.off+1)
	t.off++
	return Part{Variable: v}
}

// reference reads text[off:end]; it returns nil for a fault that is recorded.
func (t *scanner) reference(end int) *Reference {
	from := t.off
	t.off = end
	text := t.text[from:end]
	r, f := t.src.parseReference(text)
	t.showReference(from, text)
	if f != nil {
		t.fail(from+f.off, f.message, f.hint)
		return nil
	}
	return &r
}

// showReference shows names in a reference. A default is a value, the value of an
// unknown key may be one, and a text that is not a URI may not be a reference.
func (t *scanner) showReference(from int, text string) {
	const secret = "default"
	if i := strings.Index(text, secret); i >= 0 {
		text = text[:i+len(secret)]
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r > unicode.MaxASCII || !isURI(byte(r)) }); i >= 0 {
		text = text[:i]
	}
	t.show(from, from+len(text))
	path, fragment, _ := strings.Cut(text, "#")
	if _, value, ok := strings.Cut(fragment, "="); ok {
		t.hide(from+len(text)-len(value), from+len(text))
		text = path
	}
	for i := strings.IndexAny(text, "?&"); i >= 0; i = strings.IndexAny(text, "?&") {
		from, text = from+i+1, text[i+1:]
		pair := text
		if end := strings.IndexAny(text, "&#"); end >= 0 {
			pair = text[:end]
		}
		switch key, _, ok := strings.Cut(pair, "="); {
		case isQueryKey(key):
		case ok:
			t.hide(from+len(key)+1, from+len(pair))
		default:
			t.hide(from, from+len(pair))
		}
		from, text = from+len(pair), text[len(pair):]
	}
}

// peek returns the next byte, or 0 at the end.
func (t *scanner) peek() byte {
	if t.off < len(t.text) {
		return t.text[t.off]
	}
	return 0
}

// skip returns the bytes from here on that are so, and goes past them.
func (t *scanner) skip(is func(c byte) bool) string {
	from := t.off
	for t.off < len(t.text) && is(t.text[t.off]) {
		t.off++
	}
	return t.text[from:t.off]
}

// find returns where the next c is, or the end.
func (t *scanner) find(c byte) int {
	if i := strings.IndexByte(t.text[t.off:], c); i >= 0 {
		return t.off + i
	}
	return len(t.text)
}

func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
}

func isName(c byte) bool { return isNameStart(c) || '0' <= c && c <= '9' }

const (
	closeHint = `write "}" after it, $$ for a dollar sign, and quotes around a value that has " #" in it`
	nameHint  = "a name has letters A-Z and a-z, digits and _, and does not start with a digit"
)
