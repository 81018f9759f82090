package runner

import (
	"context"
	"fmt"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
)

// A session is one manifest whose values are refreshed.
type session struct {
	fetch.Refresher
	snapshots <-chan *fetch.Snapshot
	ctx       context.Context
	cancel    context.CancelFunc
}

// startSession has snapshots of l.manifest come, after l.snapshot.
func (l *loop) startSession(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // until its end is called for
	settings := l.manifest.Refresh
	s := &session{
		Refresher: fetch.Refresher{
			Sources: l.sources, Interval: settings.Interval, Debounce: settings.Debounce, MaxWait: settings.MaxWait, Log: l.log,
		},
		ctx: ctx, cancel: cancel,
	}
	s.snapshots = s.Run(ctx, l.manifest, l.snapshot)
	l.session = s
	l.setView(l.view)
}

// endSession ends the session, if there is one. What it knows stays in the view.
func (l *loop) endSession() {
	s := l.session
	if s == nil {
		return
	}
	l.session, l.snapshot = nil, s.Latest(s.ctx)
	l.setView(l.view)
	s.cancel()
	for range s.snapshots { // until it is closed
	}
}

// A reload is one attempt to use the manifest as its files are now.
type reload struct {
	cancel   context.CancelFunc
	manifest *manifest.Manifest
	sources  fetch.Mux
	snapshot *fetch.Snapshot
	err      error
}

// startReload reads the manifest again, beside the loop: to fetch what it names may
// take as long as a person does.
func (l *loop) startReload(ctx context.Context) {
	l.endReload()
	ctx, cancel := context.WithCancel(ctx)
	n := &reload{cancel: cancel}
	l.reload = n
	go func() { // ends before l.reload is nil
		defer cancel()
		if n.manifest, n.err = l.load(); n.err == nil {
			n.sources, n.err = l.open(targets(n.manifest))
		}
		if n.err == nil {
			n.snapshot, n.err = fetch.Resolve(ctx, n.manifest, n.sources)
		}
		l.reloads <- n
	}()
}

// endReload ends the attempt that there is.
func (l *loop) endReload() {
	if l.reload != nil {
		l.reload.cancel()
		<-l.reloads
		l.reload = nil
	}
}

// finishReload takes the manifest that was read, unless it is of no use. The error
// ends Run.
func (l *loop) finishReload(ctx context.Context, n *reload) error {
	l.reload = nil
	dir, err := l.dir, n.err
	if err == nil {
		dir, err = l.openDir(l.dir, n.manifest)
	}
	if l.invalid = err != nil; l.invalid {
		l.config.OnError(fmt.Errorf("reload manifest (keeping the previous version): %w", err))
		return nil
	}
	l.log.Info("manifest reloaded")
	// What it needs may have taken a person, and their time.
	l.endSession()
	l.snapshot = n.snapshot.With(l.snapshot)
	l.manifest, l.sources, l.dir = n.manifest, n.sources, dir
	l.startSession(ctx)
	return l.plan()
}
