package inject

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/internal/mask"
)

const (
	// pause is how long text that may begin a value is held back while the child
	// prints nothing: longer than the time between two writes of one line, and too
	// short to be noticed while typing.
	pause = 20 * time.Millisecond

	// grace is how long the output is read after the exit of the child if other
	// processes have it open.
	grace = 500 * time.Millisecond

	// inFlight is the most that a pipe holds (fcntl(2), F_SETPIPE_SZ).
	inFlight = 1 << 20
)

// An output is the masked output of a child: through an inner terminal if it goes to
// our terminal, and through pipes otherwise.
type output struct {
	pumps  []*pump
	childs []*os.File // ends of the child
	inner  *innerTerminal
}

// mask changes the files of c to those of o.
func (o *output) mask(c *Command) error {
	stdin, stdout, stderr := cmp.Or(c.Stdin, os.Stdin), cmp.Or(c.Stdout, os.Stdout), cmp.Or(c.Stderr, os.Stderr)
	err := o.terminal(c, stdin, stdout, stderr)
	if err == nil {
		err = o.pipes(c, stdout, stderr)
	}
	if err != nil {
		return fmt.Errorf("mask output: %w", err)
	}
	return nil
}

// pipes gives the child pipes for stdout and stderr, unless they are on an inner
// terminal: one pipe if both are the same file, which keeps the order of the output.
func (o *output) pipes(c *Command, stdout, stderr *os.File) (err error) {
	inner := func(f *os.File) bool { return o.inner != nil && onTerminal(f) }
	if !inner(stdout) {
		if c.Stdout, err = o.pipe(c.masker, stdout); err != nil {
			return err
		}
	}
	switch {
	case inner(stderr):
	case same(stdout, stderr):
		c.Stderr = c.Stdout
	default:
		c.Stderr, err = o.pipe(c.masker, stderr)
	}
	return err
}

// pipe returns a file whose text arrives in f, masked.
func (o *output) pipe(m *mask.Masker, f *os.File) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	o.add(m, r, w, f)
	return w, nil
}

func (o *output) add(m *mask.Masker, from, childs, to *os.File) {
	o.childs = append(o.childs, childs)
	o.pumps = append(o.pumps, &pump{from, m.Writer(to), make(chan struct{}), make(chan struct{}), inFlight})
}

func (o *output) start() {
	for _, p := range o.pumps {
		go p.run()
	}
}

// finish passes on what the child has written before it exited. If other processes
// keep the output open, it reads for the time of grace. A slow reader of our output
// may take longer, unless ctx ends: then the rest is lost.
func (o *output) finish(ctx context.Context) {
	for _, f := range o.childs {
		_ = f.Close()
	}
	timer := time.AfterFunc(grace, func() {
		for _, p := range o.pumps {
			p.end()
		}
	})
	defer timer.Stop()
	for _, p := range o.pumps {
		select {
		case <-p.done:
		case <-ctx.Done():
			select {
			case <-p.done:
			case <-time.After(2 * grace):
			}
		}
	}
}

func (o *output) close() {
	if o.inner != nil {
		o.inner.close()
	}
	for _, p := range o.pumps {
		_ = p.from.Close()
	}
	for _, f := range o.childs {
		_ = f.Close()
	}
}

// same reports whether a and b are one file.
func same(a, b *os.File) bool {
	x, err := a.Stat()
	if err != nil {
		return false
	}
	y, err := b.Stat()
	return err == nil && os.SameFile(x, y)
}

// A pump copies one stream through a mask. It reads only after it has written, so
// that a reader that stalls stalls the child; when the reader closes, the end of the
// child is closed too.
type pump struct {
	from   *os.File
	mask   *mask.Writer
	ending chan struct{} // closed when the child has exited and grace is over
	done   chan struct{}
	left   int // bytes to read after that
}

func (p *pump) run() {
	defer close(p.done)
	defer p.from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := p.read(buf)
		if n > 0 {
			if _, err := p.mask.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			_ = p.mask.Flush()
			return
		}
	}
}

// end has the pump end as soon as there is nothing to read.
func (p *pump) end() {
	close(p.ending)
	_ = p.from.SetReadDeadline(time.Now())
}

// read reads, and releases text that is held back when the stream pauses.
func (p *pump) read(buf []byte) (int, error) {
	for {
		var deadline time.Time
		if p.mask.Holds() {
			deadline = time.Now().Add(pause)
		}
		_ = p.from.SetReadDeadline(deadline)
		select {
		case <-p.ending:
			return p.rest(buf)
		default:
		}
		n, err := p.from.Read(buf)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err // the error of a terminal without processes is EIO
		}
		if err := p.mask.Release(); err != nil {
			return 0, err
		}
	}
}

// rest reads without waiting. A stream that never runs dry, because another process
// keeps writing, ends after as much as the child can have left in it.
func (p *pump) rest(buf []byte) (n int, err error) {
	conn, err := p.from.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := conn.Control(func(fd uintptr) { n, err = unix.Read(int(fd), buf) })
	if err = errors.Join(err, controlErr); err != nil {
		return 0, err
	}
	if p.left -= n; n == 0 || p.left <= 0 {
		return n, io.EOF
	}
	return n, nil
}
