package localroom

import (
	"slices"
	"sync"
)

// A piece of news is a secret that was set or deleted, by the change of the
// store called Updated.
type news struct {
	Info
	deleted bool
}

// watches is who hears of changes. The zero value is nobody.
type watches struct {
	mu sync.Mutex
	by map[watcher][]*watch
}

type watcher struct{ room, identity string } // identity is never ""

type watch struct{ hear func(news) }

// watch calls hear with each change of the secrets that identity has in room,
// or that others delegated to it there: after it was committed, before the call
// that made it returns, and in the order of the changes, which all wait for
// hear. When stop has returned hear is not called any more.
func (s *Store) watch(room, identity string, hear func(news)) (stop func()) {
	w, who, one := &s.watches, watcher{room, identity}, &watch{hear}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.by == nil {
		w.by = map[watcher][]*watch{}
	}
	w.by[who] = append(w.by[who], one)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.by[who] = slices.DeleteFunc(w.by[who], func(other *watch) bool { return other == one })
		if len(w.by[who]) == 0 {
			delete(w.by, who)
		}
	}
}

func (w *watches) tell(all []news) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range all {
		hearers := w.by[watcher{n.Room, n.Owner}]
		if n.DelegatedTo != n.Owner {
			hearers = slices.Concat(hearers, w.by[watcher{n.Room, n.DelegatedTo}])
		}
		for _, one := range hearers {
			one.hear(n)
		}
	}
}
