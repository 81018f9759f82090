package manifest

import (
	"regexp"
	"strings"
)

// colonOperator finds ${room:-word}, where room is the name of a variable.
var colonOperator = regexp.MustCompile(`^[^:]*:[-+?]`)

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

// template reads to the end of the text, or in a word to the "}" that closes
// it.
func (t *scanner) template(word bool) Expr {
	var parts Expr
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			parts = append(parts, Part{Literal: literal.String()})
			literal.Reset()
		}
	}
	if t.src.of(t.text[t.off:]) != "" {
		end := len(t.text)
		if word {
			end = t.find('}')
		}
		if r := t.reference(end); r != nil {
			parts = append(parts, Part{Reference: r})
		}
		return parts
	}
	braces := 0
	for t.off < len(t.text) {
		switch c := t.text[t.off]; {
		case c == '$':
			if part := t.dollar(); part.Literal != "" {
				literal.WriteString(part.Literal)
			} else if part.Reference != nil || part.Variable != nil {
				flush()
				parts = append(parts, part)
			}
			continue
		case c == '\\' && t.escapes:
			literal.WriteString(t.escape())
			continue
		case word && c == '{': // a word may be JSON
			braces++
		case word && c == '}':
			if braces == 0 {
				flush()
				return parts
			}
			braces--
		}
		literal.WriteByte(t.text[t.off])
		t.off++
	}
	flush()
	return parts
}

// escapes are those of docker compose; every other backslash stays.
var escapes = map[byte]string{
	'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
	'\\': "\\", '"': "\"", '$': "$",
}

func (t *scanner) escape() string {
	if t.off+1 < len(t.text) {
		if s, ok := escapes[t.text[t.off+1]]; ok {
			t.off += 2
			return s
		}
	}
	t.off++
	return `\`
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
		return Part{Variable: &Variable{Name: t.name()}}
	}
	return Part{Literal: "$"}
}

// braced reads on after "${", which is at start.
func (t *scanner) braced(start int) Part {
	t.show(start, t.off)
	if strings.IndexByte(t.text[t.off:], '}') < 0 {
		t.fail(start, `"${" is not closed`, closeHint)
		t.off = len(t.text)
		return Part{}
	}
	if rest := t.text[t.off:]; t.src.of(rest) != "" && !colonOperator.MatchString(rest) {
		r := t.reference(t.find('}'))
		t.close()
		return Part{Reference: r}
	}
	nameAt := t.off
	v := &Variable{Name: t.name()}
	if v.Name == "" {
		t.fail(nameAt, `"${" needs the name of a variable or a reference`, "write ${NAME} or ${room:secret/ID}, and $$ for a dollar sign")
		t.skip()
		return Part{}
	}
	operatorAt := t.off
	if t.text[t.off] == ':' {
		t.off++
	}
	switch c := t.peek(); {
	case c == '-' || c == '+' || c == '?':
		t.off++
		v.Operator = t.text[operatorAt:t.off]
		t.show(nameAt, t.off)
		if t.depth++; t.depth > maxDepth {
			t.fail(start, "too many ${ inside each other", "give the inner ones names of their own")
			t.off = len(t.text)
			return Part{}
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
	case t.off > operatorAt:
		t.fail(nameAt, "unknown scheme", t.src.hint(v.Name)+"; a default is ${NAME:-word}")
		t.skip()
		return Part{}
	}
	if t.peek() != '}' {
		t.fail(t.off, `a character that cannot be in "${…}"`, "write ${NAME} or ${NAME:-word}, and $$ for a dollar sign")
		t.skip()
		return Part{}
	}
	t.show(nameAt, operatorAt)
	t.close()
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

// showReference shows what of a reference is a name. A default is a value, what
// follows an unknown key may be one, and what is no URI is perhaps no
// reference.
func (t *scanner) showReference(from int, text string) {
	const secret = "default"
	end := 0
	for end < len(text) && isURI(text[end]) && !strings.HasSuffix(text[:end], secret) {
		end++
	}
	path, rest, _ := strings.Cut(text[:end], "?")
	t.show(from, from+end)
	at := from + len(path) + 1
	query, fragment, _ := strings.Cut(rest, "#")
	for pair := range strings.SplitSeq(query, "&") {
		key, _, ok := strings.Cut(pair, "=")
		switch {
		case isQueryKey(key):
		case ok:
			t.hide(at+len(key)+1, at+len(pair))
		default:
			t.hide(at, at+len(pair))
		}
		at += len(pair) + 1
	}
	if i := strings.IndexByte(fragment, '='); i >= 0 {
		t.hide(at+i+1, at+len(fragment))
	}
}

func (t *scanner) name() string {
	from := t.off
	if isNameStart(t.peek()) {
		for isName(t.peek()) {
			t.off++
		}
	}
	return t.text[from:t.off]
}

// peek returns the next byte, or 0 at the end.
func (t *scanner) peek() byte {
	if t.off < len(t.text) {
		return t.text[t.off]
	}
	return 0
}

// find returns where the next c is, or the end.
func (t *scanner) find(c byte) int {
	if i := strings.IndexByte(t.text[t.off:], c); i >= 0 {
		return t.off + i
	}
	return len(t.text)
}

// close reads a "}".
func (t *scanner) close() {
	t.show(t.off, t.off+1)
	t.off++
}

// skip goes on after a fault within "${…}".
func (t *scanner) skip() {
	t.off = min(t.find('}')+1, len(t.text))
}

func isNameStart(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
}

func isName(c byte) bool { return isNameStart(c) || '0' <= c && c <= '9' }

const (
	closeHint = `write "}" after it, $$ for a dollar sign, and quotes around a value that has " #" in it`
	nameHint  = "a name has letters A-Z and a-z, digits and _, and does not start with a digit"
)
