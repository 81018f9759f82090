package runner

import (
	"maps"
	"os"
	"slices"

	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/render"
	"github.com/roomenv/roomenv/secret"
)

// A Revision is one set of values, from a manifest as it was at one time. Revisions
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

	digest    *render.Digest
	changed   map[name]int // the revision in which something changed last
	directory int          // the revision whose directory has these files; 0: not written yet
}

// Lookup returns the value of a variable, and whether it is set. A nil revision has none.
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

// maxRecent is of how many revisions the secrets are recent. The consumer may still
// have old ones; to retain all of them would take more and more memory.
const maxRecent = 100

// recent are the secrets of the last revisions in which they differ.
type recent [][]render.Variable

// with returns all, with secrets as the newest.
func (r *recent) with(secrets []render.Variable) []render.Variable {
	same := func(a, b render.Variable) bool { return a.Name == b.Name && a.Value.Equal(b.Value) }
	if n := len(*r); n == 0 || !slices.EqualFunc((*r)[n-1], secrets, same) {
		*r = append(*r, secrets)
		*r = (*r)[max(0, len(*r)-maxRecent):]
	}
	return slices.Concat(*r...)
}

// A name is that of a variable or the path of a file.
type name struct{ kind, name string }

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
