package mask

import (
	"fmt"
	"io"

	"github.com/roomenv/roomenv/secret"
)

// maxPrefix is how many bytes [Writer.Release] shows of what may become a value. It
// is less than half of the shortest value.
const maxPrefix = 3

// A Writer masks what is written to it. It is for one goroutine.
//
// It holds back only what may be the beginning of a value, so at most as much
// as the longest value has, in its longest form. Where values overlap, all of
// it becomes the name of the longest.
type Writer struct {
	masker *Masker
	out    io.Writer

	automaton *automaton
	state     uint32
	held      []byte // the last bytes of the text, as many as the depth of state
	spans     []span // what is found and may yet grow; as indexes of held
	shown     int    // how much of held is out already

	text, masked []byte // kept for their capacity
}

// A span is a part of the text that is a value, or several that overlap.
type span struct {
	start, end int
	needle     needle // the longest one
}

// Writer returns a writer that masks what it passes on to out.
func (m *Masker) Writer(out io.Writer) *Writer { return &Writer{masker: m, out: out} }

// Write masks p, which may begin and end anywhere in a value. An error is that
// of the writer below.
func (w *Writer) Write(p []byte) (int, error) {
	w.refresh()
	if w.automaton == nil {
		return w.out.Write(p)
	}
	w.text = append(append(w.text[:0], w.held...), p...)
	w.scan(len(w.held))
	return len(p), w.emit(len(w.text) - int(w.automaton.nodes[w.state].depth))
}

// Release passes on the first few bytes, maxPrefix, of what is held back, for a text
// that pauses there: a prompt whose end happens to be the beginning of a value.
// The rest of the value, if it comes, is masked.
func (w *Writer) Release() error {
	if !w.Holds() {
		return nil
	}
	from := w.shown
	w.shown = w.releasable()
	_, err := w.out.Write(w.held[from:w.shown])
	return err
}

// Holds reports whether there is something for Release to pass on.
func (w *Writer) Holds() bool { return w.shown < w.releasable() }

// releasable is how much of held may be out: none of a value that is complete.
func (w *Writer) releasable() int {
	end := min(maxPrefix, len(w.held))
	if len(w.spans) > 0 {
		end = min(end, w.spans[0].start)
	}
	return end
}

// Flush ends the text: what is held back can become no value any more.
func (w *Writer) Flush() error {
	w.text = append(w.text[:0], w.held...)
	w.state = 0
	return w.emit(len(w.text))
}

// refresh takes up what was set in the Masker. Of what is held, the end that begins
// a needle of the new automaton stays held.
func (w *Writer) refresh() {
	current := w.masker.current.Load()
	if current == w.automaton {
		return
	}
	w.automaton, w.state = current, 0
	for _, c := range w.held {
		w.state = current.step(w.state, c)
	}
}

// scan finds the spans of the text from an index on.
func (w *Writer) scan(from int) {
	a, state := w.automaton, w.state
	for i, c := range w.text[from:] {
		if int(state) < len(a.dense) {
			state = a.dense[state][c]
			if int(state) < len(a.dense) {
				continue // no needle is as short
			}
		} else {
			state = a.step(state, c)
		}
		if found := a.nodes[state].found; found != 0 {
			needle, end := a.needles[found-1], from+i+1
			w.found(span{end - needle.length, end, needle})
			state = a.rest(state)
		}
	}
	w.state = state
}

func (w *Writer) found(s span) {
	for len(w.spans) > 0 {
		last := w.spans[len(w.spans)-1]
		if last.end <= s.start {
			break
		}
		s.start = min(s.start, last.start)
		if last.needle.length >= s.needle.length {
			s.needle = last.needle
		}
		w.spans = w.spans[:len(w.spans)-1]
	}
	w.spans = append(w.spans, s)
}

// emit passes on the text before the index end, after which a value may begin,
// and holds the rest.
func (w *Writer) emit(end int) error {
	w.masked = w.masked[:0]
	from, done := w.shown, 0
	for _, s := range w.spans {
		if s.end > end {
			break
		}
		w.plain(from, s.start)
		w.masked = append(w.masked, s.needle.replacement...)
		from = s.end
		done++
	}
	w.spans = append(w.spans[:0], w.spans[done:]...)
	to := end
	if len(w.spans) > 0 {
		to = min(to, w.spans[0].start)
	}
	w.plain(from, to)
	w.shown = max(0, w.shown-end)
	for i := range w.spans {
		w.spans[i].start = max(0, w.spans[i].start-end)
		w.spans[i].end -= end
	}
	w.held = append(w.held[:0], w.text[end:]...)
	if len(w.masked) == 0 {
		return nil
	}
	_, err := w.out.Write(w.masked)
	return err
}

func (w *Writer) plain(from, to int) {
	if from < to {
		w.masked = append(w.masked, w.text[from:to]...)
	}
}

// Format writes nothing of what is held back, whatever the verb.
func (*Writer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redacted) }
