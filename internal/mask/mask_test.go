package mask_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/roomenv/roomenv/internal/mask"
	"github.com/roomenv/roomenv/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func named(name, value string) mask.Secret {
	return mask.Secret{Name: name, Value: secret.New([]byte(value))}
}

// through writes chunks and returns what comes out before and after the end.
func through(t testing.TB, m *mask.Masker, chunks ...string) (before, all string) {
	t.Helper()
	var out bytes.Buffer
	w := m.Writer(&out)
	for _, c := range chunks {
		if n, err := w.Write([]byte(c)); n != len(c) || err != nil {
			t.Fatal(n, err)
		}
	}
	before = out.String()
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return before, out.String()
}

func TestForms(t *testing.T) {
	const value = "p\"q'ä/😀<\\$`\n+ =&\te!"
	marshaled, _ := json.Marshal(value)
	shellQuote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
	for name, text := range map[string]string{
		"itself":              value,
		"CRLF":                strings.ReplaceAll(value, "\n", "\r\n"),
		"JSON":                strings.Trim(string(marshaled), `"`),
		"JSON of Python":      `p\"q'\u00e4/\ud83d\ude00<\\$` + "`" + `\n+ =&\te!`,
		"JSON of PHP":         `p\"q'\u00e4\/\ud83d\ude00<\\$` + "`" + `\n+ =&\te!`,
		"JSON of node":        `p\"q'ä/😀<\\$` + "`" + `\n+ =&\te!`,
		"%q":                  strings.Trim(fmt.Sprintf("%q", value), `"`),
		"%+q":                 strings.Trim(fmt.Sprintf("%+q", value), `"`),
		"query":               url.QueryEscape(value),
		"path":                url.PathEscape(value),
		"component":           `p%22q'%C3%A4%2F%F0%9F%98%80%3C%5C%24%60%0A%2B%20%3D%26%09e!`,
		"Python's quote":      `p%22q%27%C3%A4/%F0%9F%98%80%3C%5C%24%60%0A%2B%20%3D%26%09e%21`,
		"shell":               strings.Trim(shellQuote(value), "'"),
		"shell on a terminal": strings.ReplaceAll(strings.Trim(shellQuote(value), "'"), "\n", "\r\n"),
		"shlex":               strings.ReplaceAll(value, "'", `'"'"'`),
		"export -p":           "p\\\"q'ä/😀<\\\\\\$\\`\n+ =&\te!",
	} {
		var m mask.Masker
		m.Set(named("X", value))
		if _, got := through(t, &m, "<"+text+">"); got != "<[X]>" {
			t.Errorf("%s: %q became %q", name, text, got)
		}
	}
	var m mask.Masker
	m.Set(named("URL", "https://user:hunter2@host/"), named("PASSWORD", "hunter2+/@;:"))
	if _, got := through(t, &m, (&url.URL{Scheme: "db", User: url.UserPassword("u", "hunter2+/@;:"), Host: "h"}).String()); got != "db://u:[PASSWORD]@h" {
		t.Errorf("in a URL: %q", got)
	}
	if _, got := through(t, &m, "/"+url.PathEscape("hunter2+/@;:")+"/"); got != "/[PASSWORD]/" {
		t.Errorf("in a path: %q", got)
	}
}

// TestBase64 encodes a value between others, and looks for what a decoder could
// make of the rest.
func TestBase64(t *testing.T) {
	const value = "\xff\xfehunter2-hunter2\xfb"
	var m mask.Masker
	m.Set(named("X", value))
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		for before := range 5 {
			for after := range 5 {
				text := encoding.EncodeToString([]byte(strings.Repeat("b", before) + value + strings.Repeat("a", after)))
				_, got := through(t, &m, text)
				left := strings.Replace(got, "[X]", "", 1)
				if left == got || len(left) > len(text)-len(value)*8/6+1 {
					t.Errorf("%d before, %d after: %q became %q", before, after, text, got)
				}
			}
		}
	}
}

func TestWrite(t *testing.T) {
	for _, test := range []struct {
		name        string
		values      []mask.Secret
		chunks      []string
		before, all string
	}{
		{"plain text is not held", []mask.Secret{named("X", "hunter2")}, []string{"prompt> "}, "prompt> ", "prompt> "},
		{"no values", nil, []string{"hunter2"}, "hunter2", "hunter2"},
		{"what may begin one is", []mask.Secret{named("X", "hunter2")}, []string{"who, hun"}, "who, ", "who, hun"},
		{"split", []mask.Secret{named("X", "hunter2")}, []string{"a h", "unte", "", "r2 z"}, "a [X] z", "a [X] z"},
		{"false start", []mask.Secret{named("X", "hunter2")}, []string{"hunhun", "ter2hunt!"}, "hun[X]hunt!", "hun[X]hunt!"},
		{"next to each other", []mask.Secret{named("X", "hunter2")}, []string{"hunter2hunter2"}, "[X][X]", "[X][X]"},
		{"the longest wins", []mask.Secret{named("X", "hunter2"), named("Y", "a hunter2 z")}, []string{"hunter2 a hunter2 z"}, "[X] [Y]", "[X] [Y]"},
		{"the longest may not come", []mask.Secret{named("X", "hunter2"), named("Y", "a hunter2 z")}, []string{"a hunter2", " y"}, "a [X] y", "a [X] y"},
		{"inside until the end", []mask.Secret{named("X", "hunter2"), named("Y", "hunter2 hunter2 z")}, []string{"hunter2 hunter2 "}, "", "[X] [X] "},
		{"overlapping", []mask.Secret{named("X", "abcdef"), named("Y", "efghijk")}, []string{"<abcdefghijk>"}, "<[Y]>", "<[Y]>"},
		{"overlapping itself", []mask.Secret{named("X", "abcabcabc")}, []string{"<abcabcabcabcabc", "abc>"}, "<[X]>", "<[X]>"},
		{"space around it", []mask.Secret{named("X", "\nhunter2\n")}, []string{"hunter2", "."}, "[X].", "[X]."},
		{"lines", []mask.Secret{named("X", "hunter2\r\nhunter3\nhunter4")}, []string{"hunter2\nhunter3\nhunter4\n"}, "[X]\n", "[X]\n"},
		{"lines on a terminal", []mask.Secret{named("X", "hunter2\nhunter3")}, []string{"hunter2\r\nhunter3\r\n"}, "[X]\r\n", "[X]\r\n"},
		{"same value, first name", []mask.Secret{named("X", "hunter2"), named("Y", "hunter2")}, []string{"hunter2"}, "[X]", "[X]"},
	} {
		var m mask.Masker
		if unmasked := m.Set(test.values...); unmasked != nil {
			t.Errorf("%s: cannot mask %q", test.name, unmasked)
		}
		before, all := through(t, &m, test.chunks...)
		if before != test.before || all != test.all {
			t.Errorf("%s: got %q and %q, want %q and %q", test.name, before, all, test.before, test.all)
		}
	}
}

func TestUnmasked(t *testing.T) {
	var m mask.Masker
	got := m.Set(named("PORT", "5432"), named("EMPTY", ""), named("REGION", "us-east-1"), named("HOST", "LocalHost"),
		named("LINE", "----------"), named("PIN", " 12345 "), named("PORT", "5433"), named("OK", "543210"))
	if want := []string{"PORT", "REGION", "HOST", "LINE", "PIN"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := m.Set(named("PORT", "5434"), named("NEW", "a"), named("OK", "543210")); !slices.Equal(got, []string{"NEW"}) {
		t.Errorf("later: %q", got)
	}
	const text = "5432 us-east-1 localhost ---------- 12345"
	if _, got := through(t, &m, text+" 543210"); got != text+" [OK]" {
		t.Errorf("got %q", got)
	}
}

// TestRotation adds values in the middle of text, of which one is being written.
func TestRotation(t *testing.T) {
	var m mask.Masker
	var values []mask.Secret
	var out bytes.Buffer
	w := m.Writer(&out)
	for _, step := range []struct{ add, text, want string }{
		{"", "hunter2 ", "hunter2 "},
		{"hunter2", "hunter2 hun", "[hunter2] "},
		{"hunter3", "ter2 hunter3 abc", "[hunter2] [hunter3] abc"},
		{"abcdef", "def hunter", "def "},
		{"hunter2-hunter2", "2", ""},
		{"hunter2-hunter2-", "-hunter2.", "[hunter2-hunter2]."},
	} {
		if step.add != "" {
			values = append(values, named(step.add, step.add))
			m.Set(values...)
		}
		out.Reset()
		if _, err := w.Write([]byte(step.text)); err != nil || out.String() != step.want {
			t.Errorf("%+v: got %q, %v", step, out.String(), err)
		}
	}
}

// TestSet forgets values in the middle of text, of which one is being written.
func TestSet(t *testing.T) {
	var m mask.Masker
	var out bytes.Buffer
	w := m.Writer(&out)
	for _, step := range []struct {
		set        []string
		text, want string
	}{
		{[]string{"hunter2", "hunter3"}, "hunter2 hunter3 hun", "[hunter2] [hunter3] "},
		{[]string{"hunter3", "abcdef"}, "ter2 hunter3 hunter2 abcd", "hunter2 [hunter3] hunter2 "},
		{[]string{"abcdef"}, "ef hunter3 hun", "[abcdef] hunter3 hun"},
		{nil, "abcdef hun", "abcdef hun"},
		{[]string{"hunter2"}, "ter2 hunter2.", "ter2 [hunter2]."},
	} {
		var values []mask.Secret
		for _, v := range step.set {
			values = append(values, named(v, v))
		}
		m.Set(values...)
		out.Reset()
		if _, err := w.Write([]byte(step.text)); err != nil || out.String() != step.want {
			t.Errorf("%+v: got %q, %v", step, out.String(), err)
		}
	}
}

// TestSetWhileWriting rotates a value while another goroutine writes: a process that
// gets it after Set may print it.
func TestSetWhileWriting(t *testing.T) {
	var m mask.Masker
	values := make(chan string)
	go func() {
		defer close(values)
		var all []mask.Secret
		for i := range 200 {
			v := fmt.Sprintf("hunter2-%x", i*7919)
			all = append(all, named(fmt.Sprint(i), v))
			m.Set(all...)
			values <- v
		}
	}()
	var out bytes.Buffer
	w := m.Writer(&out)
	var want strings.Builder
	i := 0
	for v := range values {
		for _, part := range []string{"<" + v[:5], v[5:] + ">"} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		fmt.Fprintf(&want, "<[%d]>", i)
		i++
	}
	if out.String() != want.String() {
		t.Errorf("got %.80q…, want %.80q…", out.String(), want.String())
	}
}

// TestRelease pauses after each byte, where text must show but no more than the
// beginning of a value may.
func TestRelease(t *testing.T) {
	var m mask.Masker
	m.Set(named("X", "hunter2"), named("Y", "hunger-hunter2"))
	for text, want := range map[string][]string{
		"> h.":             {">", " ", "h", "."},
		"hunt.":            {"h", "u", "n", "", "t."},
		"hunter2.":         {"h", "u", "n", "", "", "", "[X]", "."},
		"hunger-hunter3.":  {"h", "u", "n", "", "", "", "", "", "", "", "", "", "", "ger-hunter3", "."},
		"hunger-hunter2\n": {"h", "u", "n", "", "", "", "", "", "", "", "", "", "", "[Y]", "\n"},
	} {
		var out bytes.Buffer
		w := m.Writer(&out)
		for i := range len(text) {
			out.Reset()
			if _, err := w.Write([]byte{text[i]}); err != nil {
				t.Fatal(err)
			}
			if err := w.Release(); err != nil {
				t.Fatal(err)
			}
			if i < len(want) && out.String() != want[i] {
				t.Errorf("%q: after %q came %q, want %q", text, text[:i+1], out.String(), want[i])
			}
		}
	}
}

type brokenPipe struct{}

var errBroken = errors.New("broken pipe")

func (brokenPipe) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteError(t *testing.T) {
	var m mask.Masker
	m.Set(named("X", "hunter2"))
	w := m.Writer(brokenPipe{})
	if _, err := w.Write([]byte("text h")); !errors.Is(err, errBroken) {
		t.Errorf("Write: %v", err)
	}
	if err := w.Release(); !errors.Is(err, errBroken) {
		t.Errorf("Release: %v", err)
	}
}

func TestNothingPrintsIt(t *testing.T) {
	var m mask.Masker
	m.Set(named("X", "hunter2-canary"))
	w := m.Writer(new(bytes.Buffer))
	_, _ = w.Write([]byte("hunter2-canar"))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb+verb, &m, w); got != secret.Redacted+secret.Redacted {
			t.Errorf("%s: %q", verb, got)
		}
	}
}

// reference masks a whole text without any cleverness: it marks every
// occurrence and replaces what overlaps.
func reference(text string, values map[string]string) string {
	type span struct {
		start, end, length int
		name               string
	}
	var spans []span
	for i := range len(text) {
		for value, name := range values {
			if strings.HasPrefix(text[i:], value) {
				spans = append(spans, span{i, i + len(value), len(value), name})
			}
		}
	}
	slices.SortFunc(spans, func(a, b span) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.length - a.length
	})
	var out strings.Builder
	at := 0
	for len(spans) > 0 {
		one := spans[0]
		for spans = spans[1:]; len(spans) > 0 && spans[0].start < one.end; spans = spans[1:] {
			one.end = max(one.end, spans[0].end)
			if spans[0].length > one.length {
				one.length, one.name = spans[0].length, spans[0].name
			}
		}
		out.WriteString(text[at:one.start] + "[" + one.name + "]")
		at = one.end
	}
	return out.String() + text[at:]
}

// check compares a Writer with the reference, whatever the chunks, and with
// pauses. seed decides on both.
func check(t *testing.T, text string, values []string, seed uint64) {
	t.Helper()
	var m mask.Masker
	names := make(map[string]string)
	var all []mask.Secret
	for i, v := range values {
		v = strings.TrimSpace(v)
		name := fmt.Sprint(i)
		if _, known := names[v]; !known && v != "" && m.Set(named(name, v)) == nil {
			names[v] = name
			all = append(all, named(name, v))
		}
	}
	m.Set(all...)
	for _, v := range values {
		// The reference knows no other forms.
		if url.QueryEscape(strings.TrimSpace(v)) != strings.TrimSpace(v) {
			return
		}
	}
	want := reference(text, names)
	random := rand.New(rand.NewPCG(seed, 1))
	for _, pauses := range []bool{false, true} {
		var out bytes.Buffer
		w := m.Writer(&out)
		for rest := text; rest != ""; {
			n := 1 + random.IntN(min(len(rest), 1+random.IntN(40)))
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			if pauses && random.IntN(2) == 0 {
				if err := w.Release(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if !pauses && got != want {
			t.Fatalf("values %q: %q became %q, want %q", values, text, got, want)
		}
		for value := range names {
			if strings.Contains(got, value) {
				t.Fatalf("%q survives in %q", value, got)
			}
		}
	}
}

// TestRandom has few letters, so that values overlap and nest.
func TestRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abc"[random.IntN(3)]
		}
		return string(b)
	}
	for range 1000 {
		values := make([]string, 1+random.IntN(6))
		for i := range values {
			values[i] = word(6 + random.IntN(20))
		}
		var text strings.Builder
		for range random.IntN(20) {
			if random.IntN(2) == 0 {
				text.WriteString(word(random.IntN(10)))
			} else {
				v := values[random.IntN(len(values))]
				text.WriteString(v[:random.IntN(len(v)+1)])
			}
		}
		check(t, text.String(), values, random.Uint64())
	}
}

func FuzzWrite(f *testing.F) {
	f.Add("a hunter2 and hunter", "hunter2", "hunter2hunter3", uint64(1))
	f.Add("abcabcabcabcabc", "abcabcabc", "bcabcab", uint64(2))
	f.Add("hunger-hunter2hunger-hunter", "hunter2", "hunger-hunter3", uint64(3))
	f.Add("aGVsbG8gd29ybGQ=", "hello+world", "aGVsbG8", uint64(4))
	f.Fuzz(func(t *testing.T, text, one, two string, seed uint64) {
		check(t, text, []string{one, two}, seed)
	})
}

// FuzzForms has the real encoders encode a value, and looks for it in what is
// left.
func FuzzForms(f *testing.F) {
	for _, value := range []string{"hunter2", "p\"q'ä/😀<\\$`\n+ =&\te!", "\xff\xfe\x00invalid", "line 1\r\nline 2\n", "a\u2028b<>&c"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		var m mask.Masker
		value = strings.TrimSpace(value)
		if value == "" || m.Set(named("X", value)) != nil {
			return
		}
		marshaled, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range []string{
			value, strings.ReplaceAll(value, "\n", "\r\n"), string(marshaled[1 : len(marshaled)-1]),
			strconv.Quote(value)[1 : len(strconv.Quote(value))-1], url.QueryEscape(value), url.PathEscape(value),
			strings.ReplaceAll(value, "'", `'\''`),
		} {
			if _, got := through(t, &m, form); !strings.Contains(got, "[X]") || len(form) > 12 && strings.Contains(got, form) {
				t.Errorf("%q became %q", form, got)
			}
		}
	})
}
