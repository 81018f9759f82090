package manifest

import (
	"cmp"
	"net/url"
	"reflect"
	"time"
)

// Refresh is how values are kept current. A zero field is left out in the manifest.
type Refresh struct {
	// Interval is the time between two polls of a room that does not push changes.
	Interval time.Duration
	// Debounce is how long no change may arrive after the first one until the next ones are
	// applied, MaxWait the longest that they wait.
	Debounce, MaxWait time.Duration
	// Pos is where the value of a key of refresh: is in the manifest, by the key.
	Pos map[string]Position
}

// defaultDebounce is what package fetch uses if the manifest leaves it out.
const defaultDebounce = 500 * time.Millisecond

// An UpdatePolicy says what to do when the value of an entry or of a file changes, or when
// it may not be current. It includes what refresh: says for all.
type UpdatePolicy struct {
	OnChange *OnChange // nil is the default for an entry or a file
	// MaxStale is how long a value may be used after the room last confirmed it; 0 is
	// without limit. Then follows OnStale, where "" is [ActionWarn].
	MaxStale time.Duration
	OnStale  Action
	// OnRevoked follows when the room reports that the value does not exist or denies
	// access to it; "" is [ActionStop].
	OnRevoked Action
}

// An Action is what happens to the command when a value is stale or revoked.
type Action string

// Actions.
const (
	ActionWarn Action = "warn" // a warning is logged
	ActionStop Action = "stop" // it is stopped until the value is available
	ActionExit Action = "exit" // it is stopped, and roomenv exits
	ActionKeep Action = "keep" // the last known value stays
)

// OnChange says how the command learns of a changed value.
type OnChange struct {
	Kind    ChangeKind
	Signal  string   // of [ChangeSignal], as in the manifest
	Command []string // of [ChangeCommand]: name and arguments
	HTTP    string   // of [ChangeHTTP]: a URL
	Touch   string   // of [ChangeTouch]: a path
}

// A ChangeKind is one of the ways of [OnChange].
type ChangeKind string

// Kinds of [OnChange].
const (
	ChangeRestart ChangeKind = "restart"
	ChangeSignal  ChangeKind = "signal"
	ChangeCommand ChangeKind = "command" // a hook runs
	ChangeHTTP    ChangeKind = "http"    // a hook sends a POST request
	ChangeTouch   ChangeKind = "touch"   // a hook creates a file or sets its time
	ChangeNone    ChangeKind = "none"
)

// A policy is what is written of an [UpdatePolicy].
type policy struct {
	onChange           *OnChange
	maxStale           *time.Duration
	onStale, onRevoked Action
}

// over returns p with the parts that it leaves out taken from general. onStale belongs to
// its maxStale.
func (p policy) over(general policy) UpdatePolicy {
	if p.maxStale == nil {
		p.maxStale, p.onStale = general.maxStale, general.onStale
	}
	u := UpdatePolicy{OnChange: p.onChange, OnRevoked: cmp.Or(p.onRevoked, general.onRevoked)}
	if p.maxStale != nil {
		u.MaxStale, u.OnStale = *p.maxStale, p.onStale
	}
	return u
}

// limitless reports whether p says what to do with a value that is never too stale.
func (p policy) limitless() bool { return p.onStale != "" && (p.maxStale == nil || *p.maxStale == 0) }

// onChangeKey is a key of the policy that of returns.
func onChangeKey[T any](of func(*T) *policy) key[T] {
	return on("on_change", change, "How the command learns of a changed value.", func(to *T, c *OnChange) { of(to).onChange = c })
}

// staleKeys are the other keys of it; on_stale requires another.
func staleKeys[T any](of func(*T) *policy, requires string) keys[T] {
	onStale := on("on_stale", oneOf(ActionWarn, ActionStop, ActionExit), "What to do after `max_stale` (default `warn`).", func(to *T, a Action) { of(to).onStale = a }).needing(requires)
	then := onStale
	then.name, then.alias, then.doc = "then", onStale.name, "Alias of `on_stale`."
	return keys[T]{
		on("max_stale", staleness, "How long a value may be used after the room last confirmed it; `0` is without limit (default).", func(to *T, d *time.Duration) { of(to).maxStale = d }),
		onStale, then,
		on("on_revoked", oneOf(ActionKeep, ActionStop), "What to do when the value no longer exists or access is denied (default `stop`).", func(to *T, a Action) { of(to).onRevoked = a }),
	}
}

var (
	staleness = kind[*time.Duration]{"duration or `0`", `{"$ref": "#/$defs/staleness"}`, func(s *source, f field) *time.Duration {
		var d time.Duration
		if !f.value.isNumber(0) {
			text, ok := s.textOf(f)
			var err error
			if d, err = time.ParseDuration(text); ok && (err != nil || text[0] == '-') {
				s.invalid(f, "a duration such as 10m or 1h30m, or 0 for no limit")
			}
		}
		return &d
	}}

	change = kind[*OnChange]{"`restart`, `none`, `{signal: …}`, `{command: […]}`, `{http: URL}` or `{touch: PATH}`", `{"$ref": "#/$defs/change"}`, func(s *source, f field) *OnChange {
		if f.value.kind != mapNode {
			return &OnChange{Kind: oneOf(ChangeRestart, ChangeNone).read(s, f)}
		}
		var c OnChange
		if changeForms.readMapping(s, f, "", &c) && len(f.value.fields) != 1 {
			s.fail(f.off, "on_change must have exactly one key: signal, command, http or touch", "")
		}
		return &c
	}}
	changeForms = keys[OnChange]{
		on("signal", matching("text", "a signal such as HUP, SIGUSR1 or \"10\"", `^[A-Za-z0-9+-]+$`), "Sends the signal to the command.", func(c *OnChange, signal string) { c.Kind, c.Signal = ChangeSignal, signal }),
		on("command", command, "Runs this command, a hook, with the new environment.", func(c *OnChange, command []string) { c.Kind, c.Command = ChangeCommand, command }),
		on("http", hookURL, "Sends a POST request without a body to this URL, again until the answer is 2xx.", func(c *OnChange, url string) { c.Kind, c.HTTP = ChangeHTTP, url }),
		on("touch", plainText, "Creates this file or sets its modification time.", func(c *OnChange, path string) { c.Kind, c.Touch = ChangeTouch, path }),
	}

	hookURL = scalar("URL", "a URL such as http://127.0.0.1:8080/-/reload", `{"type": "string", "pattern": "^https?://[^/?#]+"}`, func(s string) (string, bool) {
		u, err := url.Parse(s)
		return s, err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
	})

	argument = kind[string]{"text", `{"type": "string"}`, func(s *source, f field) string {
		text, _ := s.textOf(f)
		return text
	}}
	command = kind[[]string]{"list of text", `{"$ref": "#/$defs/command"}`, func(s *source, f field) []string {
		arguments := listOf(argument).read(s, f)
		if f.value.kind == listNode && (len(arguments) == 0 || arguments[0] == "") {
			s.invalid(f, "a list such as [NAME, ARGUMENT]")
		}
		return arguments
	}}

	refreshKeys = append(keys[settings]{
		on("interval", duration, "Time between polls of a room that does not push changes (default `60s`).", func(s *settings, d time.Duration) { s.refresh.Interval = d }),
		on("debounce", duration, "Changes within this time after one are batched until none arrives for as long (default `500ms`).", func(s *settings, d time.Duration) { s.refresh.Debounce = d }),
		on("max_wait", duration, "The longest that a change waits (default 10 times `debounce`).", func(s *settings, d time.Duration) { s.refresh.MaxWait = d }),
	}, staleKeys(func(s *settings) *policy { return &s.policy }, "")...)
)

// checkStale records what to do with a value that is never too stale.
func (s *source) checkStale(fields []field, p policy) {
	for _, f := range fields {
		if (f.key == "on_stale" || f.key == "then") && has(fields, "max_stale") && p.limitless() {
			s.fail(f.off, f.key+" requires max_stale above 0", "")
		}
	}
}

// hasPolicy reports whether r speaks for a whole entry or file.
func (r *Reference) hasPolicy() bool { return r.policy != (policy{}) || r.expiresAt }

func (it item) hasPolicy() bool {
	for p := range it.Value.parts(true) {
		if p.Reference != nil && p.Reference.hasPolicy() {
			return true
		}
	}
	return it.policy != (policy{})
}

// join adds the policy of a reference, of which those of one value may not differ.
func (p *policy) join(of policy, fail func(message, hint string)) {
	switch {
	case of == (policy{}):
	case *p == (policy{}):
		*p = of
	case !reflect.DeepEqual(*p, of):
		fail("references with different update policies", "write on_change, max_stale, on_stale and on_revoked into one of them")
	}
}
