package runner

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
)

// A PolicyError ends Run: a value was not current for longer than the manifest
// allows (max_stale), which is to end it then.
type PolicyError struct{ fetch.Violation }

func (e *PolicyError) Error() string { return "stopping: " + describe(e.Violation) }

// plan decides what is desired by the newest snapshot. Its error ends Run.
func (l *loop) plan() error {
	suspend, err := l.enforcePolicy()
	if err != nil {
		return err
	}
	if suspend != nil {
		l.desired, l.rejected = &desired{suspend: suspend, withdraw: l.withdrawn(l.manifest, l.snapshot)}, nil // any values are better than none
		if l.suspended {
			l.update(func(s *Status) { s.Reason = suspend.Error() })
		}
		return nil
	}
	d, err := l.render(l.manifest, l.snapshot, l.dir)
	if err != nil {
		l.report(err)
		return nil
	}
	if l.rejected != nil && l.rejected.Diff(d.digest).Any() {
		l.rejected = nil
	}
	if l.applied != nil && !l.applied.digest.Diff(d.digest).Any() {
		l.problem = "" // it is gone
	}
	l.desired = d
	return nil
}

// enforcePolicy reports values that are revoked or stale for too long, each once. It
// returns why values are to be suspended, or with an error why Run is to end.
func (l *loop) enforcePolicy() (suspend, end error) {
	violations := l.snapshot.Violations(l.manifest, time.Now())
	reported := l.violated
	l.violated = make(map[string]bool)
	for _, v := range violations {
		key := fmt.Sprintf("%s %s %t %s", v.Name, v.Reference, v.Revoked, v.Action)
		if l.violated[key] = true; !reported[key] && v.Action != manifest.ActionExit {
			consequence := consequences[v.Action]
			if v.Action == manifest.ActionStop && l.config.Share != nil {
				consequence = "; its file is removed until the value is available"
			}
			l.config.OnError(errors.New(describe(v) + consequence))
		}
	}
	if len(violations) == 0 {
		return nil, nil
	}
	switch worst := violations[0]; {
	case worst.Action == manifest.ActionExit:
		return nil, &PolicyError{worst}
	case worst.Action == manifest.ActionStop && l.config.Share == nil:
		return errors.New(describe(worst)), nil
	}
	return nil, nil
}

// withdrawn returns the paths of the files that must not be there: a value in them may no
// longer be used or, where other processes read them, never came.
func (r *Runner) withdrawn(m *manifest.Manifest, s *fetch.Snapshot) (paths []string) {
	m = &manifest.Manifest{Files: slices.DeleteFunc(slices.Clone(m.Files), func(f manifest.File) bool { return f.Memfd })}
	for _, v := range s.Violations(m, time.Now()) {
		if v.Action == manifest.ActionStop || v.Action == manifest.ActionExit {
			paths = append(paths, v.Name)
		}
	}
	if r.config.Share != nil {
		for _, f := range s.Failures(m) {
			paths = append(paths, f.Name)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// without returns m without files, and without the variables that hold their paths.
func without(m *manifest.Manifest, paths []string) *manifest.Manifest {
	rest := *m
	rest.Files = slices.DeleteFunc(slices.Clone(m.Files), func(f manifest.File) bool { return slices.Contains(paths, f.Path) })
	rest.Entries = slices.DeleteFunc(slices.Clone(m.Entries), func(e manifest.Entry) bool {
		return slices.ContainsFunc(e.Value, func(p manifest.Part) bool { return slices.Contains(paths, p.File) })
	})
	return &rest
}

func describe(v fetch.Violation) string {
	text := fmt.Sprintf("%s (%s): %s ", v.Name, v.Pos, v.Reference)
	if v.Revoked {
		return text + fmt.Sprintf("is revoked: %v", v.Err)
	}
	return text + fmt.Sprintf("is stale since %s: %v", v.Since.Format(time.RFC3339), v.Err)
}

// consequences of an action, for people.
var consequences = map[manifest.Action]string{
	manifest.ActionKeep: "; the last value stays",
	manifest.ActionStop: "; stopping until the value is available",
}
