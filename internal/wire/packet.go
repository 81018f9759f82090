// Package wire is the Room API on the wire: packets, packed messages, content types and
// the shapes of the secrets toolkit. Client and server share it; it opens no sockets.
// Section numbers in this package are those of docs/room-api.md.
//
// Input from a peer is bounded before it is allocated.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"unicode/utf8"
)

// Bounds on input from a peer.
const (
	// DefaultMaxMessage is the largest payload of one message, in bytes.
	DefaultMaxMessage = 16 << 20
	// MaxType is the longest message type, in bytes.
	MaxType = 256
	// MaxHeader is the longest JSON header of a packed message, in bytes.
	MaxHeader = 1 << 20
	// MaxDepth is how deep the JSON of a header may nest.
	MaxDepth = 64
	// ChunkSize is the payload size of the packets that [Message.Packets]
	// cuts. Peers may send larger ones.
	ChunkSize = 1024
)

const (
	packetHeader = 8 + 4     // message id, packet number
	firstPacket  = 8 + 4 + 4 // and the number of packets that follow
)

// ErrProtocol is wrapped by every error about input from a peer. The connection is no
// longer usable.
var ErrProtocol = errors.New("protocol violation")

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// A Message is the unit of the protocol: an id, a type and a payload. Ids
// count per direction and connection; a response carries its request's id.
//
// Payloads hold secret bytes, so a Message prints without its payload.
type Message struct {
	ID      uint64
	Type    string
	Payload []byte
}

// Format writes id, type and length, whatever the verb.
func (m Message) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "message %d %q, %d bytes", m.ID, m.Type, len(m.Payload))
}

// LogValue holds id, type and length.
func (m Message) LogValue() slog.Value {
	return slog.GroupValue(slog.Uint64("id", m.ID), slog.String("type", m.Type), slog.Int("bytes", len(m.Payload)))
}

// Packets yields the packets of m in order, each of which is one binary
// WebSocket frame: the header packet, then the payload in slices of
// [ChunkSize]. The slice yielded is valid until the next one.
func (m Message) Packets() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		buf := make([]byte, 0, packetHeader+max(4+len(m.Type), min(ChunkSize, len(m.Payload))))
		count := (len(m.Payload) + ChunkSize - 1) / ChunkSize
		buf = binary.BigEndian.AppendUint64(buf, m.ID)
		buf = binary.BigEndian.AppendUint32(buf, 0)
		buf = binary.BigEndian.AppendUint32(buf, uint32(count))
		if !yield(append(buf, m.Type...)) {
			return
		}
		for k := range count {
			chunk := m.Payload[k*ChunkSize : min((k+1)*ChunkSize, len(m.Payload))]
			binary.BigEndian.PutUint32(buf[8:], uint32(k+1))
			if !yield(append(buf[:packetHeader], chunk...)) {
				return
			}
		}
	}
}

// An Assembler assembles messages from the packets of one direction. The zero value is
// ready.
type Assembler struct {
	// MaxMessage is the largest payload accepted, in bytes;
	// 0 means [DefaultMaxMessage].
	MaxMessage int

	message Message
	next    uint32 // number of the packet expected; 0 between messages
	last    uint32
}

// Add adds one packet, which it does not retain. It returns a message and true if the
// packet completes one. Errors wrap [ErrProtocol]; after one, do not use the Assembler.
func (a *Assembler) Add(packet []byte) (Message, bool, error) {
	if len(packet) < packetHeader {
		return Message{}, false, violation("a packet of %d bytes is shorter than its header", len(packet))
	}
	id, number := binary.BigEndian.Uint64(packet), binary.BigEndian.Uint32(packet[8:])
	if number != a.next {
		return Message{}, false, violation("packet %d came where packet %d was expected", number, a.next)
	}
	if number == 0 {
		if err := a.begin(id, packet); err != nil {
			return Message{}, false, err
		}
	} else if err := a.extend(id, packet[packetHeader:]); err != nil {
		return Message{}, false, err
	}
	if a.next <= a.last {
		return Message{}, false, nil
	}
	done := a.message
	a.message, a.next, a.last = Message{}, 0, 0
	return done, true, nil
}

// Size returns how many bytes the payload of the unfinished message will have at least,
// as far as the peer has said.
func (a *Assembler) Size() int {
	return max(int(a.last)*ChunkSize, len(a.message.Payload))
}

func (a *Assembler) begin(id uint64, packet []byte) error {
	if len(packet) < firstPacket {
		return violation("a first packet of %d bytes is shorter than its header", len(packet))
	}
	count, typ := binary.BigEndian.Uint32(packet[packetHeader:]), packet[firstPacket:]
	switch {
	case len(typ) > MaxType:
		return violation("a message type of %d bytes is longer than %d", len(typ), MaxType)
	case !utf8.Valid(typ):
		return violation("a message type is not UTF-8")
	case int64(count)*ChunkSize > int64(a.max()+ChunkSize-1):
		return violation("a message of %d packets is larger than %d bytes", count, a.max())
	}
	a.message = Message{ID: id, Type: string(typ)}
	a.next, a.last = 1, count
	return nil
}

// extend grows the payload as packets arrive, never by what the first packet
// announces.
func (a *Assembler) extend(id uint64, chunk []byte) error {
	switch {
	case id != a.message.ID:
		return violation("a packet of message %d came inside message %d", id, a.message.ID)
	case len(a.message.Payload)+len(chunk) > a.max():
		return violation("a message is larger than %d bytes", a.max())
	}
	a.message.Payload = append(a.message.Payload, chunk...)
	a.next++
	return nil
}

func (a *Assembler) max() int {
	if a.MaxMessage > 0 {
		return a.MaxMessage
	}
	return DefaultMaxMessage
}

// Pack returns the payload of a message with a JSON header and a trailer.
func Pack(header, trailer []byte) []byte {
	p := make([]byte, 0, 8+len(header)+len(trailer))
	p = binary.BigEndian.AppendUint64(p, uint64(len(header)))
	p = append(p, header...)
	return append(p, trailer...)
}

// pack is [Pack] for a header that [Unpack] accepts.
func pack(header, trailer []byte) ([]byte, error) {
	if len(header) > MaxHeader || depth(header) > MaxDepth {
		return nil, fmt.Errorf("header of %d bytes: longer than %d or nested deeper than %d", len(header), MaxHeader, MaxDepth)
	}
	return Pack(header, trailer), nil
}

// Unpack splits a packed payload into its JSON header, which is an object, and
// its trailer. Both share memory with payload. The header may have
// unknown keys, such as [ReservedKey].
func Unpack(payload []byte) (header, trailer []byte, err error) {
	if len(payload) < 8 {
		return nil, nil, violation("a packed message of %d bytes is shorter than its length field", len(payload))
	}
	n := binary.BigEndian.Uint64(payload)
	switch {
	case n > MaxHeader:
		return nil, nil, violation("a header of %d bytes is longer than %d", n, MaxHeader)
	case n > uint64(len(payload)-8):
		return nil, nil, violation("a header of %d bytes is longer than its message", n)
	}
	header, trailer = payload[8:8+n], payload[8+n:]
	if err := checkObject(header); err != nil {
		return nil, nil, err
	}
	return header, trailer, nil
}

// ReservedKey is a top-level header key that some clients add to every packed
// message. It is never an attribute or an argument.
const ReservedKey = "__meshagent__"
