// Package mask replaces secret values in a stream of output by their names.
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

// minLength is the length in bytes of the shortest value that is masked. Shorter
// values, such as ports, years, booleans and "admin", also occur as ordinary text:
// masking them would show where, and so what, they are.
const minLength = 6

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

// Set replaces the values to mask. Call it before a process gets a new value. A value
// with two names is shown with the first.
//
// Set returns the names of values that cannot be masked, because they are shorter than
// minLength or too common. It returns each name only once.
func (m *Masker) Set(values ...Secret) (unmasked []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.unmasked == nil {
		m.unmasked = make(map[string]bool)
	}
	names := make(map[string]string) // of forms
	for _, v := range values {
		// Programs remove the newline at the end of a file.
		core := bytes.TrimSpace(v.Value.Reveal())
		if len(core) < minLength || common(core) {
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

// common reports whether v is likely to be ordinary text: a word that is common in
// configurations, or a repetition such as "------".
func common(v []byte) bool {
	distinct := make(map[byte]bool)
	for _, c := range v {
		distinct[c] = true
	}
	return len(distinct) <= 2 || slices.Contains(commonWords, string(bytes.ToLower(v)))
}

// commonWords are values of other fields of secrets than passwords: hosts, users,
// databases, environments, modes.
var commonWords = append(strings.Fields(`
	0.0.0.0 127.0.0.1 localhost
	default disabled enabled example unknown warning
	client server master primary private public service service_account
	development production release staging testing
	password secret ubuntu username
	database mongodb postgres postgresql rabbitmq prefer require verify-full
	us-east-1
`), "nobody") // prose:ok
