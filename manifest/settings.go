package manifest

import (
	"net"
)

// The keys of [Refresh.Pos].
const (
	IntervalKey  = "interval"
	DebounceKey  = "debounce"
	MaxWaitKey   = "max_wait"
	MaxStaleKey  = maxStaleKey
	ThenKey      = thenKey
	OnRevokedKey = onRevokedKey
)

var refreshKeys = []string{IntervalKey, DebounceKey, MaxWaitKey, MaxStaleKey, ThenKey, OnRevokedKey}

// settings are what the files have on the whole, each over that of earlier ones.
type settings struct {
	refresh Refresh
	exec    Exec
	// fail records a fault of what a key was last set to.
	fail map[string]func(message, hint string)
}

// check records what does not go together, be it in several files.
func (s *settings) check() {
	if s.refresh.OnStale != "" && s.refresh.MaxStale <= 0 {
		s.fail[ThenKey](thenAlone, thenHint)
	}
	if r := s.refresh; r.MaxWait > 0 && r.MaxWait < r.Debounce {
		s.fail[MaxWaitKey]("max_wait is less than debounce", "write a longer one, or leave it out for 10 times debounce")
	}
	if _, ok := s.exec.Pos[ReadyKey]; ok && !s.exec.Overlap {
		s.fail[ReadyKey]("ready is there without restart: overlap", "a command that is stopped first is not waited for: write restart: overlap below exec too")
	}
	s.refresh.MaxStale = max(s.refresh.MaxStale, 0)
}

// set notes where the value of a setting is.
func (s *settings) set(y *yamlFile, pos *map[string]Position, f field) {
	if *pos == nil {
		*pos = map[string]Position{}
	}
	at := f.value.off
	(*pos)[f.key] = y.position(at)
	if s.fail == nil {
		s.fail = map[string]func(string, string){}
	}
	s.fail[f.key] = func(message, hint string) { y.fail(at, message, hint) }
}

// refreshing reads the mapping of refresh: each key replaces that of an earlier
// file.
func (y *yamlFile) refreshing(n node, s *settings) {
	r := &s.refresh
	for _, f := range y.fields(n, "refresh", "write interval: 60s, indented, below refresh:") {
		switch f.key {
		case IntervalKey:
			r.Interval = y.duration(f)
		case DebounceKey:
			r.Debounce = y.duration(f)
		case MaxWaitKey:
			r.MaxWait = y.duration(f)
		case MaxStaleKey, ThenKey, OnRevokedKey:
			y.freshness(&r.StalePolicy, f)
		default:
			y.fail(f.off, "unknown key", didYouMean(f.key, refreshKeys...))
			continue
		}
		s.set(y, &r.Pos, f)
	}
}

// ready reads {command: [...]} or {tcp: "HOST:PORT"}, with timeout.
func (y *yamlFile) ready(ready field) Readiness {
	const hint = "write {command: [NAME, ARGUMENT]} or {tcp: \"127.0.0.1:8080\"}, and timeout: 30s if need be"
	var r Readiness
	faults, kinds := len(y.fault), 0
	for _, f := range y.fields(ready.value, ReadyKey, hint) {
		switch f.key {
		case commandKey:
			kinds++
			r.Command = y.command(f)
		case "tcp":
			kinds++
			r.TCP = y.name(f)
			if _, port, err := net.SplitHostPort(r.TCP); r.TCP != "" && (err != nil || port == "") {
				y.fail(f.value.off, "tcp is no address", "write HOST:PORT, as 127.0.0.1:8080 or [::1]:8080")
			}
		case timeoutKey:
			r.Timeout = y.duration(f)
		default:
			y.fail(f.off, "unknown key", didYouMean(f.key, commandKey, "tcp", timeoutKey))
		}
	}
	if kinds != 1 && len(y.fault) == faults {
		y.fail(ready.off, "ready is not one of command and tcp", hint)
	}
	return r
}
