package localroom

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/roomenv/roomenv/internal/wire"
)

// messageTimeout bounds the time from the first byte of a message to its last, which
// includes the wait for its budget.
const messageTimeout = time.Minute

// maxRetained is the largest buffer that a connection keeps between frames, in bytes.
const maxRetained = 4 << 10

// incoming is the message that a peer is sending. It takes the bytes that are more than
// freeBytes from the allowance of the peer, before it allocates them.
type incoming struct {
	*session
	packets wire.Assembler
	frame   bytes.Buffer
	late    *time.Timer // nil between messages
	held    int64
}

// add reads a frame, and returns the message that it completes, if it does. The caller
// calls release when it is done with the message.
func (in *incoming) add(ctx context.Context, r io.Reader) (m wire.Message, complete bool, err error) {
	if in.late == nil {
		in.late = time.AfterFunc(messageTimeout, func() {
			in.log.Warn("participant dropped: its message is not complete in time")
			in.drop()
		})
	}
	if err := in.allowance.packets.Wait(ctx); err != nil {
		return m, false, err
	}
	in.frame.Reset()
	if _, err := in.frame.ReadFrom(io.LimitReader(r, freeBytes)); err != nil {
		return m, false, err
	}
	if in.frame.Len() == freeBytes {
		if err := in.hold(ctx, wire.DefaultMaxMessage); err != nil {
			return m, false, err
		}
		if _, err := in.frame.ReadFrom(r); err != nil {
			return m, false, err
		}
	}
	m, complete, err = in.packets.Add(in.frame.Bytes())
	if in.frame.Cap() > maxRetained {
		in.frame = bytes.Buffer{}
	}
	switch {
	case err != nil:
		return m, false, err
	case complete:
		in.late.Stop()
		in.late = nil
		return m, true, nil
	}
	return m, false, in.hold(ctx, int64(in.packets.Size()))
}

// hold takes n bytes for the message. A message that turns out to be larger than it
// announced gives back what it has first, so that two of them do not wait for each
// other, and takes as much as a message can need.
func (in *incoming) hold(ctx context.Context, n int64) error {
	if n <= max(in.held, freeBytes) {
		return nil
	}
	if in.held > 0 {
		n = wire.DefaultMaxMessage
	}
	in.release()
	if err := in.allowance.acquire(ctx, n); err != nil {
		return err
	}
	in.held = n
	return nil
}

// release gives back the bytes of the message.
func (in *incoming) release() {
	if in.held > 0 {
		in.allowance.release(in.held)
		in.held = 0
	}
}

// stop ends a message that is not complete.
func (in *incoming) stop() {
	if in.late != nil {
		in.late.Stop()
	}
	in.release()
}
