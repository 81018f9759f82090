package manifest

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	onChangeKey  = "on_change"
	maxStaleKey  = "max_stale"
	thenKey      = "then"
	onRevokedKey = "on_revoked"
	expiresAtKey = "expires_at"
	commandKey   = "command"

	// unlimited is a MaxStale of 0 that is written, while the layers are read.
	unlimited time.Duration = -1

	thenAlone    = "then is there without max_stale"
	thenHint     = "write max_stale: 10m too"
	staleHint    = "write 0 for no end, or a time with its unit, as 10m or 1h30m"
	onChangeHint = "write restart, none, {signal: HUP} or {command: [NAME, ARGUMENT]}"
	nestedHint   = "a file changes as a whole: write on_change, max_stale, then and on_revoked beside template or entries"
	expiresHint  = "write it with a variable below env, which may have file: PATH too"
)

var (
	staleActions   = []string{ActionWarn, ActionStop, ActionExit}
	revokedActions = []string{ActionKeep, ActionStop}

	signalPattern = regexp.MustCompile(`^[A-Za-z0-9+-]+$`)
)

// setKeeping sets what one word says of a Keeping, as in a query.
func (k *UpdatePolicy) setKeeping(key, value string) (message, hint string) {
	switch key {
	case onChangeKey:
		if value != ChangeRestart && value != ChangeNone {
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
			k.MaxStale = unlimited
		}
	case thenKey:
		k.OnStale = value
		if !slices.Contains(staleActions, value) {
			return "unknown then", didYouMean(value, staleActions...)
		}
	case onRevokedKey:
		k.OnRevoked = value
		if !slices.Contains(revokedActions, value) {
			return "unknown on_revoked", didYouMean(value, revokedActions...)
		}
	}
	return "", ""
}

// over returns f with what it leaves out taken from general. Then goes with its
// MaxStale.
func (f StalePolicy) over(general StalePolicy) StalePolicy {
	if f.MaxStale == 0 {
		f.MaxStale, f.OnStale = general.MaxStale, general.OnStale
	}
	f.MaxStale = max(f.MaxStale, 0)
	if f.OnRevoked == "" {
		f.OnRevoked = general.OnRevoked
	}
	return f
}

// keeping takes what is of a Keeping out of fields, and returns the others.
// Nothing but on_change goes with a value that is written down.
func (y *yamlFile) keeping(fields []field) (k UpdatePolicy, rest []field) {
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
			y.freshness(&k.StalePolicy, f)
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
func (y *yamlFile) freshness(fresh *StalePolicy, f field) {
	text := "0"
	if f.key != maxStaleKey || !f.value.isNumber(0) {
		text = y.name(f)
	}
	k := UpdatePolicy{StalePolicy: *fresh}
	message, hint := k.setKeeping(f.key, text)
	if text != "" && message != "" {
		y.fail(f.value.off, message, hint)
	}
	*fresh = k.StalePolicy
}

func (y *yamlFile) onChange(f field) *OnChange {
	if f.value.kind != mapNode {
		return &OnChange{Kind: y.word(f, ChangeRestart, ChangeNone)}
	}
	var c OnChange
	faults := len(y.fault)
	fields := y.fields(f.value, "", "")
	for _, g := range fields {
		switch c.Kind = g.key; g.key {
		case ChangeSignal:
			c.Signal = y.name(g)
			if c.Signal != "" && !signalPattern.MatchString(c.Signal) {
				y.fail(g.value.off, "not the name of a signal", "write it as HUP, SIGUSR1 or \"10\"")
			}
		case ChangeCommand:
			c.Command = y.command(g)
		default:
			y.fail(g.off, "unknown key", didYouMean(g.key, ChangeSignal, ChangeCommand))
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
			y.fail(n.off, "the command has no name", hint)
		}
		arguments = append(arguments, argument)
	}
	if f.value.kind == listNode && len(nodes) == 0 {
		y.fail(f.off, "the command is empty", hint)
	}
	return arguments
}

// word reads one of some words. It returns "" for a fault, which is recorded.
func (y *yamlFile) word(f field, known ...string) string {
	text := y.name(f)
	if text != "" && !slices.Contains(known, text) {
		y.fail(f.value.off, "unknown "+f.key, didYouMean(text, known...))
		return ""
	}
	return text
}

// asks reports whether r says what is of a whole value or file.
func (r *Reference) asks() bool { return r.UpdatePolicy != (UpdatePolicy{}) || r.ExpiresAt }

func (it item) asks() bool {
	asks := it.UpdatePolicy != (UpdatePolicy{})
	it.Value.references(func(r *Reference) { asks = asks || r.asks() })
	return asks
}

// keep moves what the references in t say to k.
func (it item) keep(k *UpdatePolicy, t Expr) {
	t.references(func(r *Reference) {
		switch {
		case r.UpdatePolicy == (UpdatePolicy{}):
		case *k == (UpdatePolicy{}):
			*k = r.UpdatePolicy
		case !reflect.DeepEqual(*k, r.UpdatePolicy):
			it.source.fail(it.off, "its references differ in how they are kept current", "write on_change, max_stale, then and on_revoked into one of them")
		}
		r.UpdatePolicy = UpdatePolicy{}
	})
}

// keepFile is keep for a file, all of whose references are its own.
func (f *fileItem) keepFile() {
	for _, e := range f.Entries {
		item{e, f.source, f.off}.keep(&f.UpdatePolicy, e.Value)
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
			p.Variable.Operand.references(func(r *Reference) {
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
		e.Name, e.Value, e.UpdatePolicy = it.Name+"_EXPIRES_AT", Expr{{Expiry: &r.Target}}, r.UpdatePolicy
		if r.File != "" && e.OnChange == nil {
			e.OnChange = &OnChange{Kind: ChangeNone} // as the file
		}
		if expiry != nil || names[e.Name] {
			it.source.fail(it.off, e.Name+" is set twice", "expires_at on a reference of "+it.Name+" sets it")
		}
		expiry = &e
	}
	return expiry
}
