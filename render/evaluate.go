package render

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// Bounds on what a manifest can make of little text: A=${B}${B}, B=${C}${C}, …
const (
	maxTotal = 64 << 20 // bytes of all values; far more than exec takes
	maxDepth = 1000     // of variables in variables
)

type state int

const (
	pending state = iota
	running       // being evaluated: to come here again is a cycle
	done
	absent // an optional reference is missing
	failed
)

// A result is what one entry evaluates to.
type result struct {
	entry *manifest.Entry
	state state
	value []byte // when done
	// title is what a secret is called that is all of the value; "" has it go by
	// its reference.
	title string
	// binary is whether the value may hold a NUL byte, as that of a file.
	binary bool
	errs   []error // empty for an entry that failed because of another entry
}

func (r *result) fail(format string, args ...any) {
	r.state = failed
	r.errs = append(r.errs, fmt.Errorf(format, args...))
}

type evaluation struct {
	snapshot  *fetch.Snapshot
	inherited map[string]string
	results   map[string]*result
	files     map[string]*fileResult // by path
	dir       string                 // where they will be
	left      int                    // of maxTotal
	secrets   []Variable
}

// evaluate evaluates each entry and each file of m once.
func evaluate(m *manifest.Manifest, s *fetch.Snapshot, inherited map[string]string, dir string) *evaluation {
	e := &evaluation{
		snapshot: s, inherited: inherited, results: make(map[string]*result, len(m.Entries)),
		files: newFiles(m), dir: dir, left: maxTotal,
	}
	for i := range m.Entries {
		e.results[m.Entries[i].Name] = &result{entry: &m.Entries[i], title: m.Entries[i].Name}
	}
	for _, entry := range m.Entries {
		e.entry(e.results[entry.Name], 0)
	}
	for i := range m.Files {
		e.file(e.files[m.Files[i].Path], 0)
	}
	return e
}

func (e *evaluation) entry(r *result, depth int) {
	if r.state != pending {
		return
	}
	if _, set := e.inherited[r.entry.Name]; r.entry.Unset || r.entry.Inherits() && !set {
		r.state = absent
		return
	}
	r.state = running
	value := e.template(nil, r, r.entry.Value, depth)
	if r.state != running {
		return
	}
	if !r.binary && bytes.IndexByte(value, 0) >= 0 {
		r.fail("the value holds a NUL byte, which no variable can hold")
		return
	}
	r.value, r.state = value, done
}

// template appends the value of t, a part of r, to b. It continues after a failure,
// to find all of them.
func (e *evaluation) template(b []byte, r *result, t manifest.Expr, depth int) []byte {
	if depth > maxDepth {
		r.fail("variables nest deeper than %d", maxDepth)
		return b
	}
	for _, p := range t {
		switch {
		case p.Reference != nil:
			b = e.reference(b, r, p.Reference)
		case p.Variable != nil:
			b = e.variable(b, r, p.Variable, depth)
		case p.File != "":
			b = e.path(b, r, p.File, depth)
		case p.Expiry != nil:
			b = e.expiry(b, r, *p.Expiry)
		default:
			b = e.text(b, r, []byte(p.Literal))
		}
	}
	return b
}

func (e *evaluation) text(b []byte, r *result, text []byte) []byte {
	if len(text) > e.left {
		r.fail("%w", errTooLarge)
		return b
	}
	e.left -= len(text)
	return append(b, text...)
}

func (e *evaluation) reference(b []byte, r *result, ref *manifest.Reference) []byte {
	value, found := e.snapshot.Value(ref.Target)
	if err := e.snapshot.Err(ref.Target); err != nil && !fetch.IsAbsent(err) {
		r.fail("%s: %w", ref, err)
		return b
	}
	text := value.Reveal()
	if found && ref.Field != "" {
		var err error
		if text, found, err = field(text, ref.Field); err != nil {
			r.fail("%s: %w", ref, err)
			return b
		}
	}
	switch {
	case found: // an empty value is one
	case ref.Default != nil:
		text = []byte(*ref.Default)
	case ref.Optional:
		if r.state == running {
			r.state = absent
		}
		return b
	default:
		r.fail("%s is missing: store it, or add default=VALUE or optional=true to the reference", ref)
		return b
	}
	if found {
		e.secret(r, ref, text)
	}
	if ref.Base64 {
		text = base64.StdEncoding.AppendEncode(nil, text)
		if found {
			e.secret(r, ref, text)
		}
	}
	if !r.binary && bytes.IndexByte(text, 0) >= 0 {
		r.fail("the value of %s holds a NUL byte, which no variable can hold: add encoding=base64 to the reference", ref)
		return b
	}
	return e.text(b, r, text)
}

// expiry appends when the token of t expires. If that is not known, it is absent.
func (e *evaluation) expiry(b []byte, r *result, t manifest.Target) []byte {
	expires := e.snapshot.State(t).Expires
	if expires.IsZero() {
		if r.state == running {
			r.state = absent
		}
		return b
	}
	return e.text(b, r, expires.UTC().AppendFormat(nil, time.RFC3339))
}

// secret notes what a reference of r stands for.
func (e *evaluation) secret(r *result, ref *manifest.Reference, text []byte) {
	name := ref.ID()
	switch value := r.entry.Value; {
	case r.title != "" && len(value) == 1 && value[0].Reference == ref:
		name = r.title
	case ref.Field != "":
		name += "#" + ref.Field
	}
	e.secrets = append(e.secrets, Variable{name, secret.New(text)})
}

// variable follows the table in POSIX.1-2024, Shell Command Language, 2.6.2
// Parameter Expansion.
func (e *evaluation) variable(b []byte, r *result, v *manifest.Variable, depth int) []byte {
	value, set, ok := e.lookup(r, v.Name, depth)
	if !ok {
		r.state = failed
		return b
	}
	operator, colon := strings.CutPrefix(v.Operator, ":")
	unset := "not set"
	if colon {
		set = set && len(value) > 0
		unset = "not set or empty"
	}
	switch {
	case operator == "-" && !set, operator == "+" && set:
		return e.template(b, r, v.Operand, depth+1)
	case operator == "+":
		return b
	case operator == "?" && !set:
		r.fail("%s is %s: %s", v.Name, unset, message(v.Operand))
		return b
	}
	return e.text(b, r, value)
}

// lookup returns the value that name has within r. It is not ok when an error is the
// reason that it has no value.
func (e *evaluation) lookup(r *result, name string, depth int) (value []byte, set, ok bool) {
	other := e.results[name]
	if other == nil || other == r {
		text, set := e.inherited[name]
		return []byte(text), set, true
	}
	if other.state == running {
		r.fail("${%s} leads back to %s", name, r.entry.Name)
		return nil, false, false
	}
	e.entry(other, depth+1)
	return other.value, other.state == done, other.state != failed
}

// message is the text of t as written, without any value.
func message(t manifest.Expr) string {
	var b strings.Builder
	for _, p := range t {
		switch {
		case p.Reference != nil:
			b.WriteString("${" + p.Reference.String() + "}")
		case p.Variable != nil:
			b.WriteString("${" + p.Variable.Name + "}")
		default:
			b.WriteString(p.Literal)
		}
	}
	if b.Len() == 0 {
		return "it is required"
	}
	return b.String()
}
