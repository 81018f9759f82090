package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/wire"
)

// packet builds a packet by hand: rest is count and type in a first packet,
// payload in the others.
func packet(id uint64, number uint32, rest ...any) []byte {
	p := binary.BigEndian.AppendUint64(nil, id)
	p = binary.BigEndian.AppendUint32(p, number)
	for _, r := range rest {
		switch r := r.(type) {
		case uint32:
			p = binary.BigEndian.AppendUint32(p, r)
		case string:
			p = append(p, r...)
		}
	}
	return p
}

func first(id uint64, count uint32, typ string) []byte { return packet(id, 0, count, typ) }

func packets(m wire.Message) (all [][]byte) {
	for p := range m.Packets() {
		all = append(all, slices.Clone(p))
	}
	return all
}

// The worked example of section 2.
func TestPacketsOfAResponse(t *testing.T) {
	payload, err := wire.PackContent(wire.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	got := packets(wire.Message{ID: 7, Type: wire.TypeResponse, Payload: payload})
	want := []string{
		"0000000000000007" + "00000000" + "00000001" + "5f5f726573706f6e73655f5f",
		"0000000000000007" + "00000001" + "0000000000000010" + "7b2274797065223a22656d707479227d",
	}
	if len(got) != len(want) {
		t.Fatalf("%d packets, want %d", len(got), len(want))
	}
	for i := range want {
		if h := hex.EncodeToString(got[i]); h != want[i] {
			t.Errorf("packet %d is\n%s, want\n%s", i, h, want[i])
		}
	}
}

func TestPacketsAndBack(t *testing.T) {
	var a wire.Assembler // one for all: it is clean after each message
	for size, count := range map[int]int{0: 0, 1: 1, 1024: 1, 1025: 2, 2048: 2, 2049: 3, 1 << 20: 1024} {
		m := wire.Message{ID: 1<<63 + uint64(size), Type: "räume.x", Payload: bytes.Repeat([]byte{0xA5}, size)}
		ps := packets(m)
		if len(ps) != 1+count {
			t.Errorf("%d bytes make %d packets, want a first one and %d", size, len(ps), count)
		}
		for i, p := range ps {
			got, done, err := a.Add(p)
			if err != nil || done != (i == count) {
				t.Fatalf("packet %d of %d: done %t, %v", i, count, done, err)
			}
			if done && (got.ID != m.ID || got.Type != m.Type || !bytes.Equal(got.Payload, m.Payload)) {
				t.Errorf("%v became %v", m, got)
			}
		}
	}
}

// Some peers send packets larger than ours (section 2).
func TestLargePackets(t *testing.T) {
	var a wire.Assembler
	large := strings.Repeat("x", 65536)
	if _, done, err := a.Add(first(0, 2, "t")); done || err != nil {
		t.Fatal(done, err)
	}
	if _, done, err := a.Add(packet(0, 1, large)); done || err != nil {
		t.Fatal(done, err)
	}
	m, done, err := a.Add(packet(0, 2, "y"))
	if !done || err != nil || string(m.Payload) != large+"y" {
		t.Fatal(done, err)
	}
}

func TestAssemblerRefuses(t *testing.T) {
	for name, ps := range map[string][][]byte{
		"empty packet":                {{}},
		"packet shorter than ids":     {make([]byte, 11)},
		"first packet without count":  {packet(1, 0)},
		"first packet, half a count":  {packet(1, 0, "\x00\x00")},
		"type not UTF-8":              {first(1, 0, "\xff")},
		"type too long":               {first(1, 0, strings.Repeat("t", wire.MaxType+1))},
		"2^32-1 packets":              {first(1, 1<<32-1, "t")},
		"one packet over the limit":   {first(1, wire.DefaultMaxMessage/wire.ChunkSize+1, "t")},
		"starts in the middle":        {packet(1, 1, "x")},
		"gap":                         {first(1, 2, "t"), packet(1, 2, "x")},
		"repeated":                    {first(1, 2, "t"), packet(1, 1, "x"), packet(1, 1, "x")},
		"past the end":                {first(1, 1, "t"), packet(1, 1, "x"), packet(1, 2, "x")},
		"another message inside":      {first(1, 2, "t"), packet(2, 1, "x")},
		"another first packet inside": {first(1, 2, "t"), first(2, 0, "t")},
		"large packets over the limit": {
			first(1, 3, "t"),
			packet(1, 1, strings.Repeat("x", wire.DefaultMaxMessage)),
			packet(1, 2, "x"),
		},
	} {
		var a wire.Assembler
		for i, p := range ps {
			_, _, err := a.Add(p)
			if last := i == len(ps)-1; last != (err != nil) {
				t.Errorf("%s: packet %d: %v", name, i, err)
			} else if last && !errors.Is(err, wire.ErrProtocol) {
				t.Errorf("%s: %v does not wrap ErrProtocol", name, err)
			}
		}
	}
}

func TestMaxMessage(t *testing.T) {
	for _, size := range []int{0, 1, 1024, 1500, 1501} {
		a := wire.Assembler{MaxMessage: 1500}
		var err error
		for p := range (wire.Message{Payload: make([]byte, size)}).Packets() {
			if _, _, err = a.Add(p); err != nil {
				break
			}
		}
		if (err == nil) != (size <= 1500) {
			t.Errorf("%d bytes under a limit of 1500: %v", size, err)
		}
	}
}

// A first packet announces what it likes; memory follows the packets.
func TestLyingFirstPacketTakesNoMemory(t *testing.T) {
	allowed := first(1, wire.DefaultMaxMessage/wire.ChunkSize, "t")
	refused := first(1, 1<<32-1, "t")
	var before, after runtime.MemStats
	const rounds = 100
	runtime.ReadMemStats(&before)
	for range rounds {
		for _, p := range [][]byte{allowed, refused} {
			var a wire.Assembler
			_, _, _ = a.Add(p)
		}
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / rounds; per > 4096 {
		t.Errorf("a lying first packet took %d bytes", per)
	}
}

func TestMessagePrintsNoPayload(t *testing.T) {
	const canary = "hunter2-canary"
	m := wire.Message{ID: 3, Type: "t", Payload: []byte(canary)}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", m)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "m", m)
	for _, f := range []string{canary, hex.EncodeToString([]byte(canary)), strings.Trim(fmt.Sprint([]byte(canary)), "[]")} {
		if strings.Contains(out.String(), f) {
			t.Errorf("the payload was printed as %q", f)
		}
	}
	if !strings.Contains(out.String(), `message 3 "t", 14 bytes`) {
		t.Errorf("it printed %q", out.String())
	}
}

func TestPack(t *testing.T) {
	const want = "0000000000000002" + "7b7d" + "ff00"
	p := wire.Pack([]byte("{}"), []byte{0xff, 0})
	if got := hex.EncodeToString(p); got != want {
		t.Errorf("packed to %s, want %s", got, want)
	}
	header, trailer, err := wire.Unpack(p)
	if err != nil || string(header) != "{}" || string(trailer) != "\xff\x00" {
		t.Errorf("unpacked to %q, %q, %v", header, trailer, err)
	}
}

func TestUnpackRefuses(t *testing.T) {
	length := func(n uint64, rest string) []byte {
		return append(binary.BigEndian.AppendUint64(nil, n), rest...)
	}
	packed := func(header string) []byte { return wire.Pack([]byte(header), nil) }
	for name, payload := range map[string][]byte{
		"empty":                 {},
		"half a length":         make([]byte, 7),
		"no header":             length(0, ""),
		"1 TB":                  length(1<<40, "{}"),
		"2^64-1":                length(1<<64-1, "{}"),
		"2^63":                  length(1<<63, "{}"),
		"one byte short":        length(3, "{}"),
		"long header":           packed(`{"a":"` + strings.Repeat("x", wire.MaxHeader) + `"}`),
		"not UTF-8":             packed("{\"a\":\"\xff\"}"),
		"not JSON":              packed(`{"a":}`),
		"two values":            packed(`{}{}`),
		"array":                 packed(`[]`),
		"null":                  packed(`null`),
		"string":                packed(`"{"`),
		"deep":                  packed(strings.Repeat(`{"a":`, wire.MaxDepth) + "{}" + strings.Repeat("}", wire.MaxDepth)),
		"deep and never closed": packed(`{"a":` + strings.Repeat("[", wire.MaxHeader-100)),
	} {
		if header, _, err := wire.Unpack(payload); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("%s: %q, %v", name, header, err)
		}
	}
	// Brackets in strings are no depth.
	ok := packed(`{"a":"` + strings.Repeat(`[{\"`, 100) + `"}`)
	if _, _, err := wire.Unpack(ok); err != nil {
		t.Error(err)
	}
	ok = packed(" \n" + strings.Repeat(`{"a":`, wire.MaxDepth-1) + "{}" + strings.Repeat("}", wire.MaxDepth-1))
	if _, _, err := wire.Unpack(ok); err != nil {
		t.Error(err)
	}
}
