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
// It holds back only text that may begin a value, at most the length of the longest
// form. Values that overlap are replaced together, by the name of the longest.
type Writer struct {
	masker *Masker
	out    io.Writer

	automaton *automaton
	state     uint32
	held      []byte // the end of the text; its length is the depth of state
	spans     []span // values that are found and may grow, as indexes of held
	shown     int    // bytes of held that are written already

	text, masked []byte // buffers
}

// A span is a value in the text, or several that overlap.
type span struct {
	start, end int
	needle     needle // the longest one
}

// Writer returns a writer that masks what it passes on to out.
func (m *Masker) Writer(out io.Writer) *Writer { return &Writer{masker: m, out: out} }

// Write masks p, which may begin and end inside a value. Errors are those of the
// underlying writer.
func (w *Writer) Write(p []byte) (int, error) {
	w.refresh()
	if w.automaton == nil {
		return w.out.Write(p)
	}
	w.text = append(append(w.text[:0], w.held...), p...)
	w.scan(len(w.held))
	return len(p), w.emit(len(w.text) - int(w.automaton.nodes[w.state].depth))
}

// Release writes the first maxPrefix bytes that are held back, for text that pauses
// there, such as a prompt that ends like a value begins. The rest of the value, if it
// follows, is masked.
func (w *Writer) Release() error {
	if !w.Holds() {
		return nil
	}
	from := w.shown
	w.shown = w.releasable()
	_, err := w.out.Write(w.held[from:w.shown])
	return err
}

// Holds reports whether Release has bytes to write.
func (w *Writer) Holds() bool { return w.shown < w.releasable() }

// releasable is how many bytes of held may be written: not those of a complete value.
func (w *Writer) releasable() int {
	end := min(maxPrefix, len(w.held))
	if len(w.spans) > 0 {
		end = min(end, w.spans[0].start)
	}
	return end
}

// Flush writes what is held back, at the end of the text.
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

// emit writes the text before the index end, where a value may begin, and holds the
// rest.
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

// Format writes no text that is held back, whatever the verb.
func (*Writer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, secret.Redacted) }
