package manifest

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
)

// A File is one file that the child may read.
type File struct {
	Path   string      // relative, clean, with slashes
	Mode   fs.FileMode // permission bits, of which the owner's read bit is set
	Memfd  bool        // not in a folder: the child gets it open (memfd_create(2))
	Format string
	// Entries are what the content is made of. [Raw] has one, whose name is "".
	// [GoTemplate] has one for each call of a function that gives a value, whose
	// name is that of [Call]. The other formats hold them under their names.
	Entries []Entry
	Text    string // of a GoTemplate
	Pos     Position
	UpdatePolicy
}

// Formats of files.
const (
	FormatRaw      = "" // the bytes of the only entry
	FormatDotenv   = "dotenv"
	FormatJSON     = "json"
	FormatYAML     = "yaml"
	FormatShell    = "shell"    // for ". FILE" in a POSIX shell
	FormatTemplate = "template" // text/template
)

const (
	defaultMode = fs.FileMode(0o400)
	maxPath     = 255
	// ownName, as the path of a variable's file, gives NAME a file of its name
	// and sets NAME_FILE.
	ownName = "true"
)

var (
	pathPattern = regexp.MustCompile(`^` + component + `(/` + component + `)*$`)
	modePattern = regexp.MustCompile(`^0[4-7][0-7]{2}$`)
)

// component is a name in a path, neither "." nor "..".
const component = `([^/.\x00-\x1f\x7f]|\.[^/.\x00-\x1f\x7f]|\.\.[^/\x00-\x1f\x7f])[^/\x00-\x1f\x7f]*`

// Values returns all that has a value in m: the entries, then those of each
// file under the file's path and kept as the file is.
func (m *Manifest) Values() []Entry {
	all := slices.Clone(m.Entries)
	for _, f := range m.Files {
		for _, e := range f.Entries {
			all = append(all, Entry{Name: f.Path, Value: e.Value, Pos: e.Pos, UpdatePolicy: f.UpdatePolicy})
		}
	}
	return all
}

func checkPath(s string) (message, hint string) {
	if len(s) > maxPath || !pathPattern.MatchString(s) {
		return "not the path of a file", fmt.Sprintf("a path is relative, as tls/key.pem, without . and .. in it, and has at most %d bytes", maxPath)
	}
	return "", ""
}

func parseMode(s string) (mode fs.FileMode, message, hint string) {
	if !modePattern.MatchString(s) {
		return 0, "not the mode of a file", "write four octal digits that let the owner read, as 0400 or 0640"
	}
	bits, _ := strconv.ParseUint(s, 8, 32) // three digits after the 0
	return fs.FileMode(bits), "", ""
}

// setFile sets one of the attributes of a reference that make a file of it.
func (r *Reference) setFile(key, value string) (message, hint string) {
	if key == "mode" {
		r.Mode, message, hint = parseMode(value)
		return message, hint
	}
	r.File = value
	return checkPath(value)
}

// A fileItem is a file with the place for faults of it.
type fileItem struct {
	File
	source *source
	off    int
}

func (f fileItem) fail(message, hint string) {
	f.source.fail(f.off, fmt.Sprintf("file %q: %s", f.Path, message), hint)
}

// checkNames records variables that one file sets both below env and as the
// env of a file.
func checkNames(items []item) {
	first := map[string]Position{}
	for _, it := range items {
		if p, twice := first[it.Name]; twice {
			it.source.fail(it.off, it.Name+" is set twice", duplicateHint(p))
			continue
		}
		first[it.Name] = it.Pos
	}
}

// collectFiles returns the files of all layers, of which a later one replaces
// an earlier one of its path, with those that references ask for; and the
// items, in which the path stands in the place of such a reference, with those
// that file=true and expires_at=true ask for.
func collectFiles(sources []*source, items []item) ([]item, []fileItem) {
	var files []fileItem
	place := map[string]int{}
	for _, s := range sources {
		for _, f := range s.files {
			if i, ok := place[f.Path]; ok {
				files[i] = f
				continue
			}
			place[f.Path] = len(files)
			files = append(files, f)
		}
	}
	names := map[string]bool{}
	for _, it := range items {
		names[it.Name] = true
	}
	var out []item
	for _, it := range items {
		expiry := it.expiry(names)
		own := it.referenceFiles(func(f fileItem) {
			if _, ok := place[f.Path]; ok {
				f.fail("it is there already", "give one of them another path; ${NAME} is the path in the variable NAME")
				return
			}
			place[f.Path] = len(files)
			files = append(files, f)
		})
		it.keep(&it.UpdatePolicy, it.Value)
		last := len(out)
		out = append(out, it)
		if expiry != nil {
			out = append(out, *expiry)
		}
		if !own {
			continue
		}
		// NAME itself is not set: programs that know NAME_FILE take it for an
		// error if both are.
		path := it
		path.Name, path.Value = it.Name+"_FILE", Expr{{File: it.Name}}
		if names[path.Name] {
			it.source.fail(it.off, path.Name+" is set twice", "file=true on "+it.Name+" sets it too")
		}
		out[last].Value, out[last].Unset = nil, true
		out = append(out, path)
	}
	checkFolders(files, place)
	for i := range files {
		files[i].checkReferences()
		files[i].keepFile()
	}
	return out, files
}

// referenceFiles calls add for each reference of the value that asks for a
// file, and puts the path in its place. own is whether there is one that asks
// for a file of the entry's name.
func (it *item) referenceFiles(add func(fileItem)) (own bool) {
	it.Value = slices.Clone(it.Value)
	for i, p := range it.Value {
		if p.Variable != nil && hasFile(p.Variable.Operand) {
			it.source.fail(it.off, "file= within ${"+p.Variable.Name+p.Variable.Operator+"…}", "give the file a variable of its own")
		}
		if p.Reference == nil || p.Reference.File == "" {
			continue
		}
		r := *p.Reference
		f := fileItem{File{Path: r.File, Mode: defaultMode, Pos: it.Pos, UpdatePolicy: r.UpdatePolicy}, it.source, it.off}
		if r.Mode != 0 {
			f.Mode = r.Mode
		}
		if r.File == ownName {
			own, f.Path = true, it.Name
			if len(it.Value) > 1 {
				it.source.fail(it.off, "file=true is not the whole value", "write file=PATH, which stands for the path within text")
			}
		}
		r.File, r.Mode, r.UpdatePolicy = "", 0, UpdatePolicy{}
		f.Entries = []Entry{{Value: Expr{{Reference: &r}}, Pos: it.Pos}}
		it.Value[i] = Part{File: f.Path}
		add(f)
	}
	return own
}

// checkFolders records each file whose path is the folder of another.
func checkFolders(files []fileItem, place map[string]int) {
	for _, f := range files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			if _, ok := place[dir]; ok {
				f.fail(fmt.Sprintf("%q is a file too, so no folder", dir), "give one of them another path")
			}
		}
	}
}

// checkReferences records references that ask for a file in the content of one.
func (f fileItem) checkReferences() {
	for _, e := range f.Entries {
		if hasFile(e.Value) {
			f.fail("a reference with file= in the content of a file", "leave file= out, or give it a variable of its own")
		}
	}
}

// hasFile reports whether a reference in t asks for a file.
func hasFile(t Expr) bool {
	return slices.ContainsFunc(t, func(p Part) bool {
		return p.Reference != nil && p.Reference.File != "" || p.Variable != nil && hasFile(p.Variable.Operand)
	})
}
