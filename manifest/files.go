package manifest

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"sync"
)

// A File is one file that the command may read.
type File struct {
	Path   string      // relative, clean, with slashes
	Mode   fs.FileMode // permission bits, of which the owner's read bit is set
	Memfd  bool        // not in a directory: the command gets it open (memfd_create(2))
	Format Format
	// Entries are what the content is made of. [FormatRaw] has one, whose name is "".
	// [FormatTemplate] has one for each call of a function that gives a value, whose
	// name is that of [Call]. The other formats hold them under their names.
	Entries []Entry
	Text    string // of a template
	Pos     Position
	UpdatePolicy
}

// A Format is how the entries of a [File] are written.
type Format string

// Formats of files.
const (
	FormatRaw      Format = "" // the bytes of the only entry
	FormatDotenv   Format = "dotenv"
	FormatJSON     Format = "json"
	FormatYAML     Format = "yaml"
	FormatShell    Format = "shell"    // for ". FILE" in a POSIX shell
	FormatTemplate Format = "template" // text/template
)

// Values returns all that has a value in m: the entries, then those of each
// file under the file's path and with its policy.
func (m *Manifest) Values() []Entry {
	all := slices.Clone(m.Entries)
	for _, f := range m.Files {
		for _, e := range f.Entries {
			all = append(all, Entry{Name: f.Path, Value: e.Value, Pos: e.Pos, UpdatePolicy: f.UpdatePolicy})
		}
	}
	return all
}

const (
	defaultMode = fs.FileMode(0o400)
	maxPath     = 255
	// ownName, as the path of a variable's file, gives NAME a file of its name
	// and sets NAME_FILE.
	ownName = "true"
	// component is a name in a path, neither "." nor "..".
	component   = `([^/.\x00-\x1f\x7f]|\.[^/.\x00-\x1f\x7f]|\.\.[^/\x00-\x1f\x7f])[^/\x00-\x1f\x7f]*`
	pathPattern = `^` + component + `(/` + component + `)*$`
)

var (
	filePath = scalar("PATH", fmt.Sprintf("a relative path such as tls/key.pem, without . and .., of at most %d bytes", maxPath), `{"$ref": "#/$defs/path"}`, func(s string) (string, bool) {
		return s, len(s) <= maxPath && pathRegexp().MatchString(s)
	})
	pathRegexp = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pathPattern) })

	// destination is the file for the value of a reference.
	destination = kind[string]{"PATH or `true`", `{"anyOf": [{"const": true}, {"$ref": "#/$defs/path"}]}`, func(s *source, f field) string {
		if f.value.kind == boolNode && f.value.text == ownName {
			return ownName
		}
		return filePath.read(s, f)
	}}
	modeKey = on("mode", matching("text", "four octal digits that let the owner read, such as \"0400\"", `^0[4-7][0-7]{2}$`), "Permissions of the file in octal (default `\"0400\"`).", func(v *spec, mode string) {
		bits, _ := strconv.ParseUint(mode, 8, 32) // as the pattern says, or a fault
		v.mode = fs.FileMode(bits)
	})
	// placeKeys are the keys of a file, whatever it is made of.
	placeKeys = keys[spec]{
		modeKey,
		on("memfd", boolean, "Not in a directory: the command gets the file open and sealed, and its path is `/proc/self/fd/N`.", func(v *spec, is bool) { v.content.Memfd = is }),
		on("env", pathVariable, "Variable that holds the path of the file.", func(v *spec, it *item) { v.env = it }),
	}
	templateKeys = keys[spec]{
		on("template", kind[File]{"text", argument.json, (*source).goTemplate}, "Go template with the functions `secret`, `oauth`, `env`, `json`, `b64enc` and `urlquery`.", func(v *spec, f File) {
			v.content.Format, v.content.Text, v.content.Entries = FormatTemplate, f.Text, f.Entries
		}),
	}
	formatKeys = keys[spec]{
		on("format", oneOf(FormatDotenv, FormatJSON, FormatYAML, FormatShell), "How the entries are written.", func(v *spec, format Format) { v.content.Format = format }).needing("entries"),
		on("entries", kind[[]Entry]{"mapping of NAME", `{"$ref": "#/$defs/entries"}`, (*source).entries}, "Content of the file by name, as under `env`, without keys of update policies.", func(v *spec, entries []Entry) {
			v.content.Entries = entries
		}),
	}
	pathVariable = kind[*item]{variable.word, variable.json, func(s *source, f field) *item {
		if name := variable.read(s, f); name != "" {
			return &item{Entry: Entry{Name: name, Pos: s.position(f.value.off)}, place: place{s, f.value.off}}
		}
		return nil
	}}
)

// entries reads the entries of a file.
func (s *source) entries(f field) (entries []Entry) {
	for _, it := range s.env(f) {
		if it.hasPolicy() {
			it.fail(it.Name+" has an update policy", nestedHint)
		}
		entries = append(entries, it.Entry)
	}
	return entries
}

const nestedHint = "a file changes as a whole: write on_change, max_stale, on_stale and on_revoked beside template or entries"

// A fileItem is a file with the place for faults of it.
type fileItem struct {
	File
	policy
	place
}

func (f fileItem) label() string { return fmt.Sprintf("file %q", f.Path) }

// readFiles reads the mapping of paths to files. It adds them to the source and
// returns the variables that hold their paths.
func (s *source) readFiles(f field) (variables []item) {
	for _, f := range s.fields(f, "PATH: value, indented") {
		path := filePath.read(s, field{"path", f.off, node{kind: textNode, off: f.off, text: f.key}})
		if path == "" {
			continue
		}
		s.showKey(f.off, path)
		file := fileItem{place: place{s, f.off}}
		pos := s.position(f.off)
		switch f.value.kind {
		case textNode:
			file.Entries = []Entry{{Value: s.expr(f.value), Pos: pos}}
		case mapNode:
			v := s.readForm(fileForms, f)
			file.File, file.policy, file.Mode = v.content, v.policy, v.mode
			v.syntax = syntax{}
			if value := v.expr(); value != nil || v.form == "value" {
				file.Entries = []Entry{{Value: value, Pos: pos}}
			}
			if v.env != nil {
				v.env.Value = Expr{{File: path}}
				variables = append(variables, *v.env)
			}
		default:
			s.invalid(field{"file", f.off, f.value}, "{secret: ID}, {value: text}, {template: text} or {format: json, entries: {NAME: value}}, or text as under env")
		}
		file.Path, file.Pos, file.Mode = path, pos, cmp.Or(file.Mode, defaultMode)
		s.files = append(s.files, file)
	}
	return variables
}

// collectFiles returns the files of all layers, of which a later one replaces
// an earlier one of its path, with those that references ask for; and the
// items, in which the path stands for such a reference, with those
// that file=true and expires_at=true ask for.
func collectFiles(sources []*source, items []item) ([]item, []fileItem) {
	var files []fileItem
	index := map[string]int{}
	for _, s := range sources {
		for _, f := range s.files {
			if i, ok := index[f.Path]; ok {
				files[i] = f
				continue
			}
			index[f.Path] = len(files)
			files = append(files, f)
		}
	}
	names := make(map[string]bool, len(items))
	for _, it := range items {
		names[it.Name] = true
	}
	out := make([]item, 0, len(items))
	for _, it := range items {
		it, more := it.expand(names, func(f fileItem) {
			if _, ok := index[f.Path]; ok {
				f.fail(f.label()+" is defined twice", "give one of them another path; ${NAME} is the path in the variable NAME")
				return
			}
			index[f.Path] = len(files)
			files = append(files, f)
		})
		out = append(append(out, it), more...)
	}
	for i := range files {
		files[i].check(index)
	}
	return out, files
}

// expand does what the references of an entry say of it. It returns the entry and those
// that file=true and expires_at=true add, whose names no other entry may have.
func (it item) expand(names map[string]bool, add func(fileItem)) (_ item, more []item) {
	sibling := func(suffix, because string, value Expr) item {
		e := it
		e.Name, e.Value = it.Name+suffix, value
		if names[e.Name] {
			it.fail(e.Name+" is set twice", because+" on "+it.Name+" sets it")
		}
		names[e.Name] = true
		return e
	}
	own := false
	for p, within := range it.Value.parts(true) {
		r := p.Reference
		if r == nil {
			continue
		}
		said := r.syntax
		r.syntax = syntax{}
		if within != nil && (said.file != "" || said.expiresAt) {
			it.fail("file= or expires_at= within ${"+within.Name+within.Operator+"…}", "give the reference a variable of its own")
		}
		if said.expiresAt {
			e := sibling("_EXPIRES_AT", "expires_at=true", Expr{{Expiry: &r.Target}})
			e.policy = said.policy
			if said.file != "" && e.onChange == nil {
				e.onChange = &OnChange{Kind: ChangeNone} // as the file
			}
			more = append(more, e)
		}
		if said.file == "" {
			it.join(said.policy, it.fail)
			continue
		}
		f := fileItem{File{Path: said.file, Mode: cmp.Or(said.mode, defaultMode), Pos: it.Pos}, said.policy, it.place}
		if said.file == ownName {
			own, f.Path = true, it.Name
			if len(it.Value) > 1 {
				it.fail("file=true is not the whole value", "write file=PATH, which stands for the path within text")
			}
		}
		f.Entries = []Entry{{Value: Expr{{Reference: r}}, Pos: it.Pos}}
		*p = Part{File: f.Path}
		add(f)
	}
	if own {
		// NAME itself is not set: programs that know NAME_FILE take it for an error if
		// both are.
		more = append(more, sibling("_FILE", "file=true", it.Value))
		it.Value, it.Unset = nil, true
	}
	return it, more
}

// check records a file within a file, and references in the content of f that ask for what
// only an entry can give.
func (f *fileItem) check(index map[string]int) {
	for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
		if _, ok := index[dir]; ok {
			f.fail(fmt.Sprintf("%s: %q is a file and cannot be a directory", f.label(), dir), "give one of them another path")
		}
	}
	for _, e := range f.Entries {
		for p := range e.Value.parts(true) {
			if p.Reference == nil {
				continue
			}
			said := p.Reference.syntax
			p.Reference.syntax = syntax{}
			if said.file != "" || said.expiresAt {
				f.fail(f.label()+": file= or expires_at= in the content of a file", "write the reference under env:")
			}
			f.join(said.policy, func(message, hint string) { f.fail(f.label()+": "+message, hint) })
		}
	}
}
