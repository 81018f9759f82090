// Package mask replaces secret values in a stream of output by their names. It
// knows nothing of processes and terminals.
package mask

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/roomenv/roomenv/secret"
)

// MinLength is the length in bytes of the shortest value that is masked.
// Shorter ones are also ports, years, booleans and "admin": to mask them would
// take them from all output, and show by that what they are.
const MinLength = 6

// A Masker knows the values to mask. The zero Masker knows none. Its writers may be
// used by several goroutines.
type Masker struct {
	mu       sync.Mutex // for Set
	unmasked map[string]bool
	current  atomic.Pointer[automaton]
}

// A Secret value is shown as [Name].
type Secret struct {
	Name  string
	Value secret.Value
}

// Set has values, and no others, masked in all that is written from now on: one that
// is rotated is set before a process gets it. Of two names for one value the first
// stays.
//
// It returns the names of the values that cannot be masked, each name once in
// the life of m: they are shorter than [MinLength], or too common.
func (m *Masker) Set(values ...Secret) (unmasked []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unmasked == nil {
		m.unmasked = make(map[string]bool)
	}
	names := make(map[string]string) // of forms
	for _, v := range values {
		// Programs cut the newline off that files end with.
		core := bytes.TrimSpace(v.Value.Reveal())
		if len(core) < MinLength || common(core) {
			if len(core) > 0 && !m.unmasked[v.Name] {
				m.unmasked[v.Name] = true
				unmasked = append(unmasked, v.Name)
			}
			continue
		}
		for form := range forms(core) {
			if _, known := names[form]; !known {
				names[form] = v.Name
			}
		}
	}
	m.current.Store(build(names))
	return unmasked
}

// Format writes no value, whatever the verb.
func (*Masker) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redacted) }

// common reports whether v is also an ordinary word of output: one that
// configurations are full of, or a repetition such as "------".
func common(v []byte) bool {
	distinct := make(map[byte]bool)
	for _, c := range v {
		distinct[c] = true
	}
	return len(distinct) <= 2 || slices.Contains(commonWords, string(bytes.ToLower(v)))
}

// commonWords are what fields of secrets hold beside passwords: hosts, users,
// databases, environments, modes.
var commonWords = strings.Fields(`
	0.0.0.0 127.0.0.1 localhost
	default disabled enabled example unknown warning
	client server master primary private public service service_account
	development production release staging testing
	nobody password secret ubuntu username
	database mongodb postgres postgresql rabbitmq prefer require verify-full
	us-east-1
`)
