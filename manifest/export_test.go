package manifest

// Parse parses text as the file of that name, for tests without files.
func Parse(file, text string) ([]Entry, Errors) {
	s := newSource(file, text)
	var entries []Entry
	for _, it := range parse(s, new(settings)).items {
		entries = append(entries, it.Entry)
	}
	return entries, s.errors()
}
