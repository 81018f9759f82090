package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/internal/text"
)

// progress shows on stderr which participants roomenv waits for: on a terminal in one
// line that is redrawn and at last erased, elsewhere in one line per event.
type progress struct {
	w     io.Writer
	width func() int // of the terminal; nil without one

	mu      sync.Mutex
	waiting []roomsource.RequestStatus // in the order of their first news
	drawn   bool
	stop    chan struct{} // ends the redrawing; nil when closed
	wg      sync.WaitGroup
}

func newProgress(f *os.File) *progress {
	stop := make(chan struct{})
	p := &progress{w: f, stop: stop}
	if fd := int(f.Fd()); term.IsTerminal(fd) {
		p.width = func() int {
			width, _, err := term.GetSize(fd)
			if err != nil {
				return 80
			}
			return width
		}
		p.wg.Go(func() { p.tick(stop) })
	}
	return p
}

// observe is for [roomsource.Source].
func (p *progress) observe(news roomsource.RequestStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.waiting, func(w roomsource.RequestStatus) bool { return w.Target == news.Target })
	switch {
	case p.stop == nil:
		return
	case news.Stage == roomsource.Done:
		if i >= 0 {
			p.waiting = slices.Delete(p.waiting, i, i+1)
		}
	case i >= 0:
		p.waiting[i] = news
	default:
		p.waiting = append(p.waiting, news)
	}
	switch {
	case p.width != nil:
		p.draw()
	case news.Stage != roomsource.Done:
		fmt.Fprintf(p.w, "roomenv: %s\n", waitingFor(news))
	}
}

// close erases what is there. What is observed later is not shown: from here
// on the terminal is the child's.
func (p *progress) close() {
	p.mu.Lock()
	close(p.stop)
	p.stop, p.waiting = nil, nil
	p.draw()
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *progress) tick(stop <-chan struct{}) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ticker.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		}
	}
}

// draw is called with mu held.
func (p *progress) draw() {
	const start = "\r\x1b[K" // of the line, which is erased
	if len(p.waiting) == 0 {
		if p.drawn {
			_, _ = io.WriteString(p.w, start)
			p.drawn = false
		}
		return
	}
	text := "roomenv: " + waitingFor(p.waiting[0])
	more := ""
	if n := len(p.waiting) - 1; n > 0 {
		more = fmt.Sprintf(", and %d more", n)
	}
	// A line that wraps could not be erased.
	room := max(0, p.width()-1-len(more))
	if letters := []rune(text); len(letters) > room {
		text = string(letters[:max(0, room-1)]) + "…"
	}
	_, _ = io.WriteString(p.w, start+text+more)
	p.drawn = true
}

// waitingFor names the approver, what roomenv waits for, and how long that may take.
func waitingFor(p roomsource.RequestStatus) string {
	from, verb := p.From, "answer"
	switch p.Stage {
	case roomsource.WaitingToJoin:
		verb = "join the room"
	case roomsource.WaitingForRoom:
		from = "the room"
	}
	left := max(0, time.Until(p.Deadline)).Round(time.Second)
	return fmt.Sprintf("waiting for %s to %s, %s left: %s", text.Printable(from, 0), verb, left, text.Printable(p.Target.String(), 0))
}
