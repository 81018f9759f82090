package text_test

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/roomenv/roomenv/internal/text"
)

func TestPrintable(t *testing.T) {
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"plain ünïcode", 0, "plain ünïcode"},
		{"red \x1b[31m\nline", 0, `red \x1b[31m\nline`},
		{"right\u202eleft", 0, `right\u202eleft`},
		{"\xff", 0, "\ufffd"},
		{"abcdef", 3, "abc…"},
		{"abcdef", 6, "abcdef"},
		{"aü", 2, "a…"},
	} {
		if got := text.Printable(tt.in, tt.limit); got != tt.want {
			t.Errorf("Printable(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b\u202e\xff", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		got := text.Printable(s, limit)
		if !utf8.ValidString(got) || text.Printable(got, 0) != got {
			t.Errorf("Printable(%q, %d) = %q, which is not printable", s, limit, got)
		}
	})
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 values", 1: "1 value", 2: "2 values"} {
		if got := text.Count(n, "value", "values"); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestReason(t *testing.T) {
	_, err := os.Open("/nonexistent")
	if got := text.Reason(fmt.Errorf("read: %w", err)); got != syscall.ENOENT {
		t.Errorf("Reason = %v, want ENOENT", got)
	}
	other := errors.New("other")
	if got := text.Reason(other); got != other {
		t.Errorf("Reason = %v, want %v", got, other)
	}
}
