package render

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/secret"
)

// A File is one file of a [Result].
type File struct {
	Path    string      // relative, clean, with slashes
	Mode    fs.FileMode // permission bits
	Content secret.Value
	// Descriptor is the number at which the process gets the file open, without a
	// name; 0 is for a file in a directory.
	Descriptor int
}

// Variables with the directory of the files. The first has the name that it has for
// services of systemd (systemd.exec(5)), whose own one stays.
var directoryVariables = []string{credentialsDirectory, filesDirectory}

const (
	credentialsDirectory = "CREDENTIALS_DIRECTORY"
	filesDirectory       = "ROOMENV_FILES"
)

// setDirectory sets the variables to dir, and adds their names to names. What is
// inherited stays, unless it is that of a roomenv around this one, or not passed on.
func (p Policy) setDirectory(m *manifest.Manifest, inherited, names []string, values map[string]string, dir string) []string {
	service := values[credentialsDirectory]
	_, entry := byName(m)[credentialsDirectory]
	outer := slices.Contains(inherited, filesDirectory+"="+service)
	for _, name := range directoryVariables {
		if name == credentialsDirectory && service != "" && !outer && (!p.Pristine || entry) {
			continue
		}
		if _, ok := values[name]; !ok {
			names = append(names, name)
		}
		values[name] = dir
	}
	return names
}

// A fileResult is what one file evaluates to. The value of its result is the
// content.
type fileResult struct {
	result
	file       *manifest.File
	descriptor int
}

// newFiles numbers the files that the command gets open, from 3 on like
// [os/exec.Cmd.ExtraFiles]; one that is absent leaves a gap.
func newFiles(m *manifest.Manifest) map[string]*fileResult {
	files := make(map[string]*fileResult, len(m.Files))
	descriptor := firstDescriptor
	for i := range m.Files {
		f := &fileResult{file: &m.Files[i]}
		if f.file.Memfd {
			f.descriptor = descriptor
			descriptor++
		}
		files[f.file.Path] = f
	}
	return files
}

const firstDescriptor = 3 // after stdin, stdout and stderr

// file evaluates the content of a file once. A raw file is absent if its
// optional reference is missing; in the other formats the entry alone is.
func (e *evaluation) file(f *fileResult, depth int) {
	if f.state != pending {
		return
	}
	f.state = running
	var values []Variable
	for i := range f.file.Entries {
		r := &result{entry: &f.file.Entries[i], binary: true}
		switch f.file.Format {
		case manifest.FormatRaw:
			r.title = f.file.Path
		case manifest.FormatTemplate: // the name is that of a call
		default:
			r.title = r.entry.Name
		}
		if r.entry.Inherits() {
			e.inherits(r, depth)
		} else {
			e.entry(r, depth)
		}
		switch r.state {
		case failed:
			f.state = failed
			f.errs = append(f.errs, r.errs...)
		case done:
			values = append(values, Variable{r.entry.Name, secret.New(r.value)})
		}
	}
	if f.state == failed {
		return
	}
	if f.file.Format == manifest.FormatRaw && len(values) == 0 {
		f.state = absent
		return
	}
	content, err := encode(f.file, values)
	if err == nil && len(content) > e.left {
		err = errTooLarge
	}
	if err != nil {
		f.fail("%w", err)
		return
	}
	e.left -= len(content)
	f.value, f.state = content, done
}

// inherits evaluates an entry of a file that is the variable of its name: that
// of the command, absent if it is unset.
func (e *evaluation) inherits(r *result, depth int) {
	value, set, ok := e.lookup(r, r.entry.Name, depth)
	switch {
	case !ok:
		r.state = failed
	case !set:
		r.state = absent
	default:
		r.value, r.state = value, done
	}
}

// path appends where a file of the manifest will be.
func (e *evaluation) path(b []byte, r *result, path string, depth int) []byte {
	f := e.files[path]
	if f == nil {
		r.fail("file %q not found", path)
		return b
	}
	e.file(f, depth+1)
	switch f.state {
	case failed:
		r.state = failed
	case absent:
		if r.state == running {
			r.state = absent
		}
	}
	where := e.dir + "/" + path
	if f.file.Memfd {
		where = "/proc/self/fd/" + strconv.Itoa(f.descriptor)
	}
	return e.text(b, r, []byte(where))
}

// renderFiles returns the files in the order of m.
func (e *evaluation) renderFiles(m *manifest.Manifest) (files []File, errs []error) {
	for i := range m.Files {
		f := e.files[m.Files[i].Path]
		if f.state == done {
			files = append(files, File{f.file.Path, f.file.Mode, secret.New(f.value), f.descriptor})
		}
		for _, err := range f.errs {
			errs = append(errs, fmt.Errorf("write %s (%s): %w", f.file.Path, f.file.Pos, err))
		}
	}
	return files, errs
}

var errTooLarge = fmt.Errorf("the values exceed %d MiB in total", maxTotal>>20)
