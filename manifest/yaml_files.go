package manifest

import (
	"slices"
)

const fileHint = "write {secret: ID}, {value: text}, {template: text} or {format: json, entries: {NAME: value}}, or text as below env"

var (
	fileKeys = slices.Concat([]string{"mode", "memfd", "env", "template", "format", "entries", "value"}, referenceKeys)
	formats  = []string{FormatDotenv, FormatJSON, FormatYAML, FormatShell}
)

// filesOf reads the mapping of paths to files. It adds them to the source and
// returns the variables that hold their paths.
func (y *yamlFile) filesOf(n node) []item {
	var items []item
	for _, f := range y.fields(n, "files", "write PATH: value, indented, below files:") {
		if message, hint := checkPath(f.key); message != "" {
			y.fail(f.off, message, hint)
			continue
		}
		y.showKey(f.off, f.key)
		file := File{Path: f.key, Mode: defaultMode, Pos: y.position(f.off)}
		switch f.value.kind {
		case textNode:
			file.Entries = []Entry{{Value: y.expr(f.value), Pos: file.Pos}}
		case mapNode:
			items = append(items, y.file(&file, f)...)
		default:
			y.mismatch(f.value, "this is not a file", fileHint)
		}
		y.source.files = append(y.source.files, fileItem{file, y.source, f.off})
	}
	return items
}

// file reads what describes one file, and returns the variable that holds its
// path, if there is one.
func (y *yamlFile) file(file *File, f field) (items []item) {
	form := map[string]field{} // template, or format and entries
	var value []field          // what is one value, as below env
	kept, fields := y.keeping(y.fields(f.value, "", ""))
	file.UpdatePolicy = kept
	for _, g := range fields {
		at := g.value.off
		switch {
		case g.key == expiresAtKey:
			y.fail(g.off, "expires_at does not go with a file", expiresHint)
		case !slices.Contains(fileKeys, g.key) || g.key == "file":
			y.fail(g.off, "unknown key", didYouMean(g.key, fileKeys...))
		case g.key == "mode":
			if text, ok := y.textOf(g); ok {
				var message, hint string
				if file.Mode, message, hint = parseMode(text); message != "" {
					y.fail(at, message, hint)
				}
			}
		case g.key == "memfd":
			file.Memfd = y.boolean(g)
		case g.key == "env":
			if text, ok := y.textOf(g); ok && !validName(text) {
				y.fail(at, "the name is not valid", nameHint)
			} else if ok {
				items = append(items, item{Entry{Name: text, Value: Expr{{File: file.Path}}, Pos: y.position(at)}, y.source, at})
			}
		case g.key == "template" || g.key == "format" || g.key == "entries":
			form[g.key] = g
		default:
			value = append(value, g)
		}
	}
	y.content(file, f, form, value)
	return items
}

// content reads what a file is made of, which is one of form and value.
func (y *yamlFile) content(file *File, f field, form map[string]field, value []field) {
	template, isTemplate := form["template"]
	format, hasFormat := form["format"]
	entries, hasEntries := form["entries"]
	switch {
	case len(form) > 0 && len(value) > 0, isTemplate && len(form) > 1:
		y.fail(f.off, "more than one content", fileHint)
	case isTemplate:
		file.Format = FormatTemplate
		y.goTemplate(file, template)
	case hasFormat && hasEntries:
		text, ok := y.textOf(format)
		if ok && !slices.Contains(formats, text) {
			y.fail(format.value.off, "unknown format", didYouMean(text, formats...))
		}
		file.Format = text
		for _, it := range y.env(entries.value) {
			if it.asks() {
				y.fail(it.off, it.Name+" says how it is kept current", nestedHint)
			}
			file.Entries = append(file.Entries, it.Entry)
		}
	case len(form) > 0:
		y.fail(f.off, "format and entries go together", fileHint)
	case len(value) == 0:
		y.fail(f.off, "the file has no content", fileHint)
	default:
		file.Entries = []Entry{{Value: y.value(f, value), Pos: file.Pos}}
	}
}
