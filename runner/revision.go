package runner

import (
	"maps"
	"os"
	"slices"

	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/secret"
)

// A Revision is one set of values, from one version of a manifest. Revisions
// differ, and so do their numbers, which are those in [Status], in logs, and in the
// name of the directory with the files that came with it. It is not modified.
type Revision struct {
	Number int
	// Result is the environment and the files.
	*render.Result
	// ExtraFiles are the files without a name, open: the one at index i for the
	// descriptor 3+i of a process, nil for none. They are closed when another
	// revision is in use or Stop has returned.
	ExtraFiles []*os.File

	digest  *render.Digest
	changed map[name]int // the revision in which something changed last
}

// Lookup returns the value of a variable, and whether it is set. In a nil revision none is set.
func (r *Revision) Lookup(name string) (secret.Value, bool) {
	if r == nil {
		return secret.Value{}, false
	}
	i := slices.IndexFunc(r.Env, func(v render.Variable) bool { return v.Name == name })
	if i < 0 {
		return secret.Value{}, false
	}
	return r.Env[i].Value, true
}

// close closes what only a process needs that is yet to be started.
func (r *Revision) close() {
	tmpfs.CloseAll(r.ExtraFiles)
	r.ExtraFiles = nil
}

// A name is that of a variable or the path of a file.
type name struct {
	kind EntryKind
	name string
}

// changedIn returns changed with what changes in the revision of that number.
func changedIn(changed map[name]int, number int, c render.Changes) map[name]int {
	changed = maps.Clone(changed)
	if changed == nil {
		changed = make(map[name]int)
	}
	for _, v := range c.Variables {
		changed[name{KindVariable, v}] = number
	}
	for _, f := range c.Files {
		changed[name{KindFile, f}] = number
	}
	return changed
}

// union returns what is in any of the changes.
func union(a, b render.Changes) render.Changes {
	join := func(a, b []string) []string { return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b)))) }
	return render.Changes{Variables: join(a.Variables, b.Variables), Files: join(a.Files, b.Files)}
}
