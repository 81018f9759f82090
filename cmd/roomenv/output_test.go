package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// Scripts get what others wrote unchanged, and a terminal nothing to act on.
func TestPrintJSON(t *testing.T) {
	in := []string{"\x00\x1b[2J\x7f", "\u0085\u009b31m", "\u200e\u200f\u202a\u202e\u2066\u2069", "\u2028\ufeff", "\U000e0041", "é <&> 😀 \\ \""}
	for _, indent := range []string{"", "  "} {
		var b strings.Builder
		if err := printJSON(&b, in, indent); err != nil {
			t.Fatal(err)
		}
		for _, r := range b.String() {
			if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.In(r, unicode.Zl, unicode.Zp)) {
				t.Errorf("%U is not escaped in %q", r, b.String())
			}
		}
		var out []string
		if err := json.Unmarshal([]byte(b.String()), &out); err != nil || !slices.Equal(out, in) {
			t.Errorf("%q became %q, error %v", in, out, err)
		}
		if !strings.Contains(b.String(), "é <&> 😀") || strings.Count(b.String(), "\n") != 1+len(indent)/2*(len(in)+1) {
			t.Errorf("got %s", b.String())
		}
	}
}
