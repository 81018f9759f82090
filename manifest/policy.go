package manifest

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

const (
	onChangeKey  = "on_change"
	maxStaleKey  = "max_stale"
	thenKey      = "then"
	onRevokedKey = "on_revoked"
	expiresAtKey = "expires_at"
	commandKey   = "command"

	// forever is a MaxStale of 0 that is written, while the layers are read.
	forever time.Duration = -1

	thenAlone    = "then is there without max_stale"
	thenHint     = "write max_stale: 10m too"
	staleHint    = "write 0 for no end, or a time with its unit, as 10m or 1h30m"
	onChangeHint = "write restart, none, {signal: HUP} or {command: [NAME, ARGUMENT]}"
	nestedHint   = "a file changes as a whole: write on_change, max_stale, then and on_revoked beside template or entries"
	expiresHint  = "write it with a variable below env, which may have file: PATH too"
)

var (
	thens    = []string{Warn, Stop, Exit}
	revokeds = []string{Keep, Stop}

	signalPattern = regexp.MustCompile(`^[A-Za-z0-9+-]+$`)
)

// setKeeping sets what one word says of a Keeping, as in a query.
func (k *Keeping) setKeeping(key, value string) (message, hint string) {
	switch key {
	case onChangeKey:
		if value != Restart && value != None {
			return "unknown on_change", "write restart or none; in YAML also {signal: HUP} and {command: [NAME, ARGUMENT]}"
		}
		k.OnChange = &OnChange{Kind: value}
	case maxStaleKey:
		d, err := time.ParseDuration(value)
		if err != nil || strings.HasPrefix(value, "-") {
			return "max_stale is no time", staleHint
		}
		k.MaxStale = d
		if d == 0 {
			k.MaxStale = forever
		}
	case thenKey:
		k.Then = value
		if !slices.Contains(thens, value) {
			return "unknown then", didYouMean(value, thens...)
		}
	case onRevokedKey:
		k.OnRevoked = value
		if !slices.Contains(revokeds, value) {
			return "unknown on_revoked", didYouMean(value, revokeds...)
		}
	}
	return "", ""
}

// over returns f with what it leaves out taken from general. Then goes with its
// MaxStale.
func (f Freshness) over(general Freshness) Freshness {
	if f.MaxStale == 0 {
		f.MaxStale, f.Then = general.MaxStale, general.Then
	}
	f.MaxStale = max(f.MaxStale, 0)
	if f.OnRevoked == "" {
		f.OnRevoked = general.OnRevoked
	}
	return f
}

// keeping takes what is of a Keeping out of fields, and returns the others.
// Nothing but on_change goes with a value that is written down.
func (y *yamlFile) keeping(fields []field) (k Keeping, rest []field) {
	literal := slices.ContainsFunc(fields, func(f field) bool { return f.key == "value" })
	var then *field
	for _, f := range fields {
		switch {
		case f.key == onChangeKey:
			k.OnChange = y.onChange(f)
		case slices.Contains(keepingKeys, f.key) && literal:
			y.fail(f.off, f.key+" does not go with value", "leave it out: what is written here does not become stale")
		case f.key == thenKey:
			then = &f
			fallthrough
		case slices.Contains(keepingKeys, f.key):
			y.freshness(&k.Freshness, f)
		default:
			rest = append(rest, f)
		}
	}
	if then != nil && k.MaxStale <= 0 {
		y.fail(then.off, thenAlone, thenHint)
	}
	return k, rest
}

// freshness sets one field of fresh.
func (y *yamlFile) freshness(fresh *Freshness, f field) {
	text := "0"
	if f.key != maxStaleKey || !isNumber(f.value, 0) {
		text = y.name(f)
	}
	k := Keeping{Freshness: *fresh}
	message, hint := k.setKeeping(f.key, text)
	if text != "" && message != "" {
		y.fail(y.offset(f.value.GetToken()), message, hint)
	}
	*fresh = k.Freshness
}

func (y *yamlFile) onChange(f field) *OnChange {
	if _, ok := f.value.(ast.MapNode); !ok {
		return &OnChange{Kind: y.word(f, Restart, None)}
	}
	var c OnChange
	faults := len(y.fault)
	fields := y.fields(f.value, "", "")
	for _, g := range fields {
		switch c.Kind = g.key; g.key {
		case Signal:
			c.Signal = y.name(g)
			if c.Signal != "" && !signalPattern.MatchString(c.Signal) {
				y.fail(y.offset(g.value.GetToken()), "not the name of a signal", "write it as HUP, SIGUSR1 or \"10\"")
			}
		case Command:
			c.Command = y.command(g)
		default:
			y.fail(g.off, "unknown key", didYouMean(g.key, Signal, Command))
		}
	}
	if len(fields) != 1 && len(y.fault) == faults {
		y.fail(f.off, "on_change is not one thing", onChangeHint)
	}
	return &c
}

// command reads the arguments of a command.
func (y *yamlFile) command(f field) []string {
	const hint = "write command: [NAME, ARGUMENT]"
	nodes := y.list(f, hint)
	arguments := make([]string, 0, len(nodes))
	for i, n := range nodes {
		argument, _ := y.textOf(field{"an argument", 0, n})
		if i == 0 && argument == "" {
			y.fail(y.offset(n.GetToken()), "the command has no name", hint)
		}
		arguments = append(arguments, argument)
	}
	if list, ok := f.value.(*ast.SequenceNode); ok && len(list.Values) == 0 {
		y.fail(f.off, "the command is empty", hint)
	}
	return arguments
}

// word reads one of some words. It returns "" for a fault, which is recorded.
func (y *yamlFile) word(f field, known ...string) string {
	text := y.name(f)
	if text != "" && !slices.Contains(known, text) {
		y.fail(y.offset(f.value.GetToken()), "unknown "+f.key, didYouMean(text, known...))
		return ""
	}
	return text
}

// asks reports whether r says what is of a whole value or file.
func (r *Reference) asks() bool { return r.Keeping != (Keeping{}) || r.ExpiresAt }

func (it item) asks() bool {
	asks := it.Keeping != (Keeping{})
	it.Value.references(func(r *Reference) { asks = asks || r.asks() })
	return asks
}

// keep moves what the references in t say to k.
func (it item) keep(k *Keeping, t Template) {
	t.references(func(r *Reference) {
		switch {
		case r.Keeping == (Keeping{}):
		case *k == (Keeping{}):
			*k = r.Keeping
		case !reflect.DeepEqual(*k, r.Keeping):
			it.source.fail(it.off, "its references differ in how they are kept current", "write on_change, max_stale, then and on_revoked into one of them")
		}
		r.Keeping = Keeping{}
	})
}

// keepFile is keep for a file, all of whose references are its own.
func (f *fileItem) keepFile() {
	for _, e := range f.Entries {
		item{e, f.source, f.off}.keep(&f.Keeping, e.Value)
		e.Value.references(func(r *Reference) {
			if r.ExpiresAt {
				f.fail("a reference with expires_at= in the content of a file", expiresHint)
			}
		})
	}
}

// expiry returns the item of NAME_EXPIRES_AT, if a reference in the value asks
// for it. It changes as the value does.
func (it item) expiry(names map[string]bool) *item {
	var expiry *item
	for _, p := range it.Value {
		r := p.Reference
		if p.Variable != nil {
			p.Variable.Word.references(func(r *Reference) {
				if r.ExpiresAt {
					it.source.fail(it.off, "expires_at= within ${"+p.Variable.Name+p.Variable.Operator+"…}", "give the token a variable of its own")
				}
			})
		}
		if r == nil || !r.ExpiresAt {
			continue
		}
		r.ExpiresAt = false
		e := it
		e.Name, e.Value, e.Keeping = it.Name+"_EXPIRES_AT", Template{{Expiry: &r.Target}}, r.Keeping
		if r.File != "" && e.OnChange == nil {
			e.OnChange = &OnChange{Kind: None} // as the file
		}
		if expiry != nil || names[e.Name] {
			it.source.fail(it.off, e.Name+" is set twice", "expires_at on a reference of "+it.Name+" sets it")
		}
		expiry = &e
	}
	return expiry
}
