package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/roomenv/roomenv/internal/wire"
)

// FuzzAssembler reads its input as packets, each behind its length in two
// bytes. A message that comes out goes in again unchanged.
func FuzzAssembler(f *testing.F) {
	f.Fuzz(func(t *testing.T, stream []byte) {
		const limit = 4096
		a := wire.Assembler{MaxMessage: limit}
		for len(stream) >= 2 {
			n := min(int(binary.BigEndian.Uint16(stream)), len(stream)-2)
			p := stream[2 : 2+n]
			stream = stream[2+n:]
			m, done, err := a.Add(p)
			if err != nil {
				if !errors.Is(err, wire.ErrProtocol) {
					t.Fatal(err)
				}
				return
			}
			if !done {
				continue
			}
			if len(m.Payload) > limit || len(m.Type) > wire.MaxType {
				t.Fatalf("%v passed the limits", m)
			}
			var back wire.Message
			again := wire.Assembler{MaxMessage: limit}
			for p := range m.Packets() {
				if back, done, err = again.Add(p); err != nil {
					t.Fatal(err)
				}
			}
			if !done || back.ID != m.ID || back.Type != m.Type || !bytes.Equal(back.Payload, m.Payload) {
				t.Fatalf("%v became %v", m, back)
			}
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Fuzz(func(t *testing.T, payload []byte) {
		header, trailer, err := wire.Unpack(payload)
		if err != nil {
			if !errors.Is(err, wire.ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(header, &object); err != nil || object == nil {
			t.Fatalf("%q is no object: %v", header, err)
		}
		if !bytes.Equal(wire.Pack(header, trailer), payload) {
			t.Fatal("packing does not undo unpacking")
		}
	})
}

// What decodes is written, and what was written decodes to the same writing.
func FuzzUnpackContent(f *testing.F) {
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := wire.UnpackContent(payload)
		if err != nil {
			if !errors.Is(err, wire.ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		once, err := wire.PackContent(c)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = wire.UnpackContent(once); err != nil {
			t.Fatal(err)
		}
		if twice, err := wire.PackContent(c); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q became %q, %v", once, twice, err)
		}
	})
}

func FuzzUnpackInvoke(f *testing.F) {
	f.Fuzz(func(t *testing.T, payload []byte) {
		call, arguments, err := wire.UnpackInvoke(payload)
		if err != nil {
			if !errors.Is(err, wire.ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		once, err := wire.PackInvoke(call.Toolkit, call.Tool, arguments)
		if err != nil {
			t.Fatal(err)
		}
		call2, arguments, err := wire.UnpackInvoke(once)
		if err != nil || call2.Toolkit != call.Toolkit || call2.Tool != call.Tool {
			t.Fatalf("%q.%q became %q.%q, %v", call.Toolkit, call.Tool, call2.Toolkit, call2.Tool, err)
		}
		if twice, err := wire.PackInvoke(call.Toolkit, call.Tool, arguments); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q became %q, %v", once, twice, err)
		}
	})
}

func FuzzUnpackChunk(f *testing.F) {
	f.Fuzz(func(t *testing.T, payload []byte) {
		id, content, err := wire.UnpackChunk(payload)
		if err != nil {
			if !errors.Is(err, wire.ErrProtocol) {
				t.Fatal(err)
			}
			return
		}
		once, err := wire.PackChunk(id, content)
		if err != nil {
			t.Fatal(err)
		}
		id2, content, err := wire.UnpackChunk(once)
		if err != nil || id2 != id {
			t.Fatalf("the stream %q became %q, %v", id, id2, err)
		}
		if twice, err := wire.PackChunk(id, content); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%q became %q, %v", once, twice, err)
		}
	})
}

// A code is the integer that was written, or none.
func FuzzCode(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		var c wire.Code
		var text any
		decoder := json.NewDecoder(bytes.NewReader(b))
		decoder.UseNumber()
		if json.Unmarshal(b, &c) != nil || decoder.Decode(&text) != nil {
			if json.Valid(b) {
				t.Fatalf("%q is JSON but no code", b)
			}
			return
		}
		if n, err := strconv.Atoi(fmt.Sprint(text)); c != 0 && (err != nil || n != int(c)) {
			t.Fatalf("%q is %d", b, c)
		}
	})
}

// What a peer says of a request is read or refused, and what was read is written
// and read the same again.
func FuzzRequests(f *testing.F) {
	for _, header := range []string{
		`{"request_id":"r","request":{"url":"u","type":"t","participant_id":"p","timeout":300,"delegate_to":null},"requester":{"id":"q","name":"n"}}`,
		`{"request_id":"r","challenge":null,"request":{"connector":{"server_url":"u"},"oauth":{"client_secret":"s","no_pkce":true,"scopes":["a"]}}}`,
		`{"request_id":"r","code":"c","error":""}`, `{"access_token":null}`, `{"participants":[{"id":"p","attributes":null}]}`,
		`{"to_participant_id":"p","type":"t","message_json":"{}","attachment_base64":"AP8="}`, `{"from_participant_id":"p","type":"t","message":{}}`,
		`{"id":"i","delegated_to":null,"revision":1,"deleted":true}`,
	} {
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		for _, shape := range []func() any{
			func() any { return new(wire.SecretRequest) },
			func() any { return new(wire.OAuthRequest) },
			func() any { return new(wire.ProvideAuthorizationArguments) },
			func() any { return new(wire.AccessToken) },
			func() any { return new(wire.Participants) },
			func() any { return new(wire.SendArguments) },
			func() any { return new(wire.ReceivedMessage) },
			func() any { return new(wire.Change) },
		} {
			v, back := shape(), shape()
			if json.Unmarshal(header, v) != nil {
				continue
			}
			once, err := json.Marshal(v)
			if err != nil {
				t.Fatalf("%T of %q: %v", v, header, err)
			}
			if err := json.Unmarshal(once, back); err != nil {
				t.Fatalf("%T of %q: %v", v, once, err)
			}
			if twice, err := json.Marshal(back); err != nil || !bytes.Equal(once, twice) {
				t.Fatalf("%q became %q, %v", once, twice, err)
			}
		}
	})
}
