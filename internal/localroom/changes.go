package localroom

import (
	"slices"
	"sync"
)

// A changeEvent is a secret that was set or deleted; Updated is the number of that
// change.
type changeEvent struct {
	Info
	deleted bool
}

// watches has the subscribers to changes. The zero value is empty.
type watches struct {
	mu sync.Mutex
	by map[watcher][]*watch
}

type watcher struct{ room, identity string } // identity is never ""

type watch struct{ notify func(changeEvent) }

// watch calls notify with each change of the secrets that identity has in room, or
// that are delegated to it there: after the commit, before the call that made the
// change returns, and in the order of the changes. They wait for notify, which is not
// called after stop has returned.
func (s *Store) watch(room, identity string, notify func(changeEvent)) (stop func()) {
	w, who, one := &s.watches, watcher{room, identity}, &watch{notify}
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

func (w *watches) publish(events []changeEvent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range events {
		watchers := w.by[watcher{e.Room, e.Owner}]
		if e.DelegatedTo != e.Owner {
			watchers = slices.Concat(watchers, w.by[watcher{e.Room, e.DelegatedTo}])
		}
		for _, one := range watchers {
			one.notify(e)
		}
	}
}
