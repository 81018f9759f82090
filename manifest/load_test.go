package manifest_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/roomenv/roomenv/manifest"
)

var update = flag.Bool("update", false, "write the golden files")

// write makes the files of a test in a folder of its own and goes there.
func write(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func lines(m *manifest.Manifest) []string {
	var all []string
	for _, e := range m.Entries {
		all = append(all, fmt.Sprintf("%s=%s %s:%d:%d", e.Name, show(e.Value), e.Pos.File, e.Pos.Line, e.Pos.Column))
	}
	return all
}

func TestLoadLayers(t *testing.T) {
	write(t, map[string]string{
		"base.env":  "A=1\nB=2\nPATH=/x:$PATH\nOWN=x-$OWN-${A:-$OWN}\nBARE\n",
		"more.yaml": "version: 1\nenv:\n  C: 3\n  A: 4\n",
		"last.JSON": `{"version": 1, "env": {"B": {"secret": "b"}, "UNSET": null}}`,
	})
	m, err := manifest.Load([]string{"base.env", "more.yaml", "last.JSON"}, []string{
		"PATH=/bin", "HOME=/home/u", "TOKEN=room:secret/token#a", "A=room:secret/a", "OWN=room:secret/own", "BARE=room:secret/bare", "X=xroom:secret/x", "odd", "=C:=x",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"TOKEN=<room:secret/token#a> environment:0:0",
		"A=[4] more.yaml:4:3",
		"OWN=[x-]<room:secret/own#>[-]{A:-<room:secret/own#>} base.env:4:1",
		"BARE=<room:secret/bare#> base.env:5:1",
		"B=<room:secret/b#> last.JSON:1:24",
		"PATH=[/x:]{PATH} base.env:3:1",
		"C=[3] more.yaml:3:3",
		"UNSET={UNSET} last.JSON:1:46",
	}
	if got := lines(m); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLoadNothing(t *testing.T) {
	m, err := manifest.Load(nil, os.Environ())
	if err != nil || len(m.Entries) != 0 {
		t.Errorf("got %v, %v", m, err)
	}
}

func TestLoadText(t *testing.T) {
	var many strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&many, "  K%d: v\n", i)
	}
	write(t, map[string]string{
		"bom.env":      "\ufeffA=1\r\nB=\"x\r\ny\"\r\n",
		"bom.yml":      "\ufeffversion: 1\r\nenv:\r\n  A: 1\r\n  B: |\r\n    x\r\n    y\r\n",
		"comments.env": "# nothing yet\n",
		"largest.env":  "A=" + strings.Repeat("x", manifest.MaxSize-2),
		"many.yaml":    "version: 1\nenv:\n" + many.String(),
	})
	for file, want := range map[string]int{"bom.env": 2, "bom.yml": 2, "comments.env": 0, "largest.env": 1, "many.yaml": 60_000} {
		m, err := manifest.Load([]string{file}, nil)
		if err != nil || len(m.Entries) != want {
			t.Errorf("%s: got %v, %v", file, m, err)
		}
	}
}

func TestLoadBadFiles(t *testing.T) {
	write(t, map[string]string{
		"empty.env":  "",
		"blank.env":  "\ufeff \n\r\n\t",
		"empty.yaml": "\n",
		"nul.env":    "A=b\x00c",
		"utf16.env":  "\xff\xfeA\x00=\x00b\x00",
		"latin1.env": "A=1\nB=gr\xfc\xdfe",
		"large.env":  "A=" + strings.Repeat("x", manifest.MaxSize-1),
		"huge.env":   "A=",
		"secret.env": "A=1",
	})
	if err := os.Truncate("huge.env", 1<<40); err != nil { // a sparse file, not to be read
		t.Fatal(err)
	}
	if err := syscall.Mkfifo("fifo.env", 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir("folder", 0o700); err != nil {
		t.Fatal(err)
	}
	// A reader that waits for a writer is let go, and found.
	waits := time.AfterFunc(10*time.Second, func() {
		t.Error("fifo.env: reading waits for a writer")
		_ = os.WriteFile("fifo.env", nil, 0)
	})
	defer waits.Stop()
	for file, want := range map[string]string{
		"missing.env": "missing.env: no such file or directory\n  hint: write NAME=value lines",
		"folder":      "folder: is a directory",
		"empty.env":   "empty.env: is empty\n  hint: ",
		"blank.env":   "is empty",
		"empty.yaml":  "is empty",
		"fifo.env":    "is empty",
		"/dev/null":   "is empty",
		"nul.env":     "is not text",
		"utf16.env":   "is UTF-16\n  hint: save it as UTF-8",
		"latin1.env":  "latin1.env:2:5: is not UTF-8",
		"large.env":   "larger than 1 MiB",
		"huge.env":    "larger than 1 MiB",
		"/dev/zero":   "larger than 1 MiB",
	} {
		_, err := manifest.Load([]string{file, "secret.env"}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", file, err, want)
		}
	}
	_, err := manifest.Load([]string{"missing.env"}, nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
}

// A pipe whose writer is there is read to its end, as of -m <(command).
func TestLoadPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	written := make(chan error)
	go func() {
		_, err := w.WriteString("A=1\n")
		written <- errors.Join(err, w.Close())
	}()
	m, err := manifest.Load([]string{fmt.Sprintf("/dev/fd/%d", r.Fd())}, nil)
	if err := errors.Join(err, <-written); err != nil || len(m.Entries) != 1 {
		t.Errorf("got %v, %v", m, err)
	}
}

func TestLoadCycles(t *testing.T) {
	write(t, map[string]string{
		"two.env":    "A=${B}\nB=x$A\n",
		"word.env":   "A=${X:-${B}}\nB=$A",
		"self.env":   "A=$A\nB=$A",
		"shared.env": "A=$B$C\nB=$C\nC=$D\nD=1",
		"base.env":   "A=$B\nB=1",
		"over.env":   "B=$A",
		"both.env":   "A=$B\nB=$A\nC=$D\nD=$C\n",
	})
	const n = 50_000
	var long strings.Builder
	for i := range n {
		fmt.Fprintf(&long, "V%d=$V%d\n", i, (i+1)%n)
	}
	if err := os.WriteFile("long.env", []byte(long.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		files []string
		want  []string // of each error
	}{
		{[]string{"two.env"}, []string{"two.env:1:1: cycle of variables: A → B → A"}},
		{[]string{"word.env"}, []string{"A → B → A"}},
		{[]string{"self.env"}, nil},
		{[]string{"shared.env"}, nil},
		{[]string{"base.env", "over.env"}, []string{"base.env:1:1: cycle of variables: A → B → A"}},
		{[]string{"both.env"}, []string{"A → B → A", "C → D → C"}},
		{[]string{"long.env"}, []string{"V0 → V1 → V2 → V3 → V4 → V5 → V6 → V7 → V8 → V9 → ("}},
	} {
		_, err := manifest.Load(test.files, nil)
		var errs []error
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			errs = joined.Unwrap()
		}
		if len(errs) != len(test.want) {
			t.Errorf("%v: got %v, want %v", test.files, err, test.want)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(errs[i].Error(), want) {
				t.Errorf("%v: got %v, want %s", test.files, errs[i], want)
			}
		}
	}
}

func TestLoadEnvironmentErrors(t *testing.T) {
	write(t, map[string]string{"m.env": "A=${A:-x}\n"})
	_, err := manifest.Load([]string{"m.env"}, []string{
		"PASSWORD=hunter2", "BROKEN=room:hunter2", "MORE=room:secret/x?hunter2=hunter2", "a.b=room:secret/hunter2", "A=room:secret/hunter2",
	})
	if err == nil {
		t.Fatal("no error")
	}
	want := `environment: variable BROKEN: unknown kind of reference
  hint: want one of secret, oauth, request
environment: variable MORE: unknown key
  hint: want one of type, name, delegated_to, delegated_by, optional, default, encoding, file, mode, on_change, max_stale, on_stale, on_revoked
environment: invalid name of the variable "a.b"
  hint: a name has letters A-Z and a-z, digits and _, and does not start with a digit
m.env:1:1: ${A:-…} within A, which is a reference in the environment
    A=${A:-…}
    ^
  hint: write default= or optional=true into the reference, or use ${A}`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// Each of these once took minutes, or would with a parser that is not bounded.
func TestLoadHostile(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, test := range []struct{ file, start, text string }{
		{"a.yaml", "version: 1\nenv:\n  A: ", ": "},
		{"a.yaml", "version: 1\nenv:\n  A: ", "- "},
		{"a.yaml", "", "? "},
		{"a.yaml", "", "a: "},
		{"a.yaml", "", "a: b\n"},
		{"a.yaml", "", "{a: "},
		{"a.yaml", "", "["},
		{"a.yaml", "version: 1\noauth: {x: {scopes: [", "a, "},
		{"a.yaml", "version: 1\noauth: {x: {scopes: [", "["},
		{"a.yaml", "version: 1\noauth:\n  x:\n    scopes:\n", "    - a\n"},
		{"a.yaml", "version: 1\noauth:\n  x:\n    scopes:\n    ", "- "},
		{"a.yaml", "", "scopes: ["},
		{"a.yaml", "", "scopes: -"},
		{"a.yaml", "version: 1\nenv:\n  A: &a ", "*a "},
		{"a.yaml", "version: 1\nenv:\n  A: \"", "${x:} "},
		{"a.env", "", "A B\n"},
		{"a.env", "A=", "${x:}"},
		{"a.env", "A=", "${a:-"},
		{"a.env", "A=", "${a:-{"},
		{"a.env", "", "A=\"\n"},
	} {
		text := test.start + strings.Repeat(test.text, manifest.MaxSize/4/len(test.text))
		if err := os.WriteFile(test.file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := manifest.Load([]string{test.file}, nil); err == nil {
			t.Errorf("%s%s…: no error", test.start, test.text)
		} else if n := len(err.Error()); n > 20_000 {
			t.Errorf("%s%s…: an error of %d bytes", test.start, test.text, n)
		}
	}
}

// What is many in one file takes a time that grows with the file.
func TestLoadMany(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, test := range []struct {
		file, start, each, end string
		errors                 bool
	}{
		{"a.env", "A=room:secret/x?a=b", "&k%d=x", "", true},
		{"a.env", "A=room:secret/x?max_stale=1m", "&then=stop%.0d", "", true},
		{"a.env", "A=file:secret/x?a=b", "&k%d=x", "", false},
		{"a.env", "A=", "${B%d:-x}", "", false},
		{"a.yaml", "version: 1\nexec:\n", "  k%d: x\n", "", true},
		{"a.yaml", "version: 1\n", "k%d: x\n", "", true},
		{"a.yaml", "version: 1\nenv:\n  A:\n    secret: x\n", "    k%d: x\n", "", true},
		{"a.yaml", "version: 1\nenv:\n  A:\n", "    k%d: x\n", "", true},
		{"a.yaml", "version: 1\nenv:\n", "  K%d: {a: b}\n", "", true},
		{"a.yaml", "version: 1\nenv:\n", "  K%d: {secret: x, optional: true}\n", "", false},
		{"a.yaml", `{"version": 1, "env": {`, `"K%d": "é", `, "}}", false},
		{"a.yaml", "version: 1\nfiles:\n  p:\n    template: '", `{{ secret "a%d" }}`, "'", false},
		{"a.yaml", "version: 1\nfiles:\n  p:\n    template: |\n", "      {{ secrt \"a%d\" }}\n", "", true},
	} {
		var text strings.Builder
		text.WriteString(test.start)
		for i := 0; text.Len() < manifest.MaxSize/4; i++ {
			fmt.Fprintf(&text, test.each, i)
		}
		text.WriteString(test.end)
		if err := os.WriteFile(test.file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err := manifest.Load([]string{test.file}, nil, "file")
		if took := time.Since(began); (err != nil) != test.errors || took > 5*time.Second {
			t.Errorf("%s%s…: %v in %v", test.start, test.each, err, took)
		}
	}
}

// The errors of testdata/errors, as a person reads them. Run with -update after
// a change of their texts, and read the difference.
func TestErrorTexts(t *testing.T) {
	golden, err := filepath.Glob("testdata/errors/*.golden")
	if err != nil {
		t.Fatal(err)
	}
	if len(golden) < 3 {
		t.Fatalf("only %d golden files", len(golden))
	}
	for _, name := range golden {
		file := strings.TrimSuffix(name, ".golden")
		_, err := manifest.Load([]string{file}, nil)
		if err == nil {
			t.Errorf("%s: no error", file)
			continue
		}
		got := err.Error() + "\n"
		if *update {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", file, got, want)
		}
	}
}

func TestErrorsAreBounded(t *testing.T) {
	write(t, map[string]string{
		"many.env": strings.Repeat("A B\n", 100),
		"wide.env": "A=" + strings.Repeat("${B}", 200) + "${room:x/y}" + strings.Repeat("${B}", 200),
	})
	_, err := manifest.Load([]string{"many.env"}, nil)
	if s := err.Error(); strings.Count(s, "expected = after") != 20 || !strings.HasSuffix(s, "\nand 80 more") {
		t.Errorf("got %s", s)
	}
	_, err = manifest.Load([]string{"wide.env"}, nil)
	_, rest, _ := strings.Cut(err.Error(), "\n    ")
	line, rest, _ := strings.Cut(rest, "\n    ")
	caret, _, _ := strings.Cut(rest, "\n")
	if n := len([]rune(line)); n > 100 || []rune(line)[len(caret)-1] != 'x' {
		t.Errorf("%d columns: %v", n, err)
	}
}

func TestErrorsUnwrap(t *testing.T) {
	write(t, map[string]string{"m.env": "A B"})
	_, err := manifest.Load([]string{"m.env"}, nil)
	e, ok := errors.AsType[*manifest.Error](err)
	if !ok || !reflect.DeepEqual(e.Pos, manifest.Position{File: "m.env", Line: 1, Column: 3}) {
		t.Errorf("got %#v", e)
	}
}

// The examples of the documentation are manifests.
func TestDocumentation(t *testing.T) {
	for _, example := range []struct {
		page, name, start string
		entries           int
	}{
		{"manifest.md", "m.env", "    # .env.room\n", 8},
		{"manifest.md", "m.yaml", "    version: 1\n", 8},
		{"files.md", "m.yaml", "    version: 1\n", 2}, // the variables with paths
	} {
		page, err := os.ReadFile("../docs/" + example.page)
		if err != nil {
			t.Fatal(err)
		}
		start := example.start
		_, rest, found := strings.Cut(string(page), start)
		if !found {
			t.Fatalf("no example that starts with %q", start)
		}
		text := start
		for line := range strings.Lines(rest) {
			if line != "\n" && !strings.HasPrefix(line, "    ") {
				break
			}
			text += line
		}
		entries, errs := manifest.Parse(example.name, strings.ReplaceAll("\n"+text, "\n    ", "\n"))
		if errs != nil || len(entries) < example.entries {
			t.Errorf("%s, %s: %d entries, %v", example.page, example.name, len(entries), errs)
		}
	}
}
