package manifest

import "io/fs"

// ParseReference parses a reference of a room, or of the scheme file.
func ParseReference(s string) (Reference, error) {
	r, f := schemes{SchemeRoom, "file"}.parseReference(s)
	if f != nil {
		return Reference{}, &Error{Message: f.message, Hint: f.hint}
	}
	return r, nil
}

// Parse parses text as the file of that name, for tests without files.
func Parse(file, text string) ([]Entry, manifestErrors) {
	s := newSource(file, text)
	s.schemes = schemes{SchemeRoom, "file"}
	var entries []Entry
	for _, it := range parse(s, &settings{at: map[string]place{}}).items {
		entries = append(entries, it.Entry)
	}
	return entries, s.errors()
}

// MaxSize is maxSize.
const MaxSize = maxSize

// WithFile returns r as a reference that asks for a file.
func (r Reference) WithFile(path string, mode fs.FileMode) Reference {
	r.file, r.mode = path, mode
	return r
}

// Speaks reports whether r still says what is of its entry or file.
func (r Reference) Speaks() bool { return r.syntax != (syntax{}) }
