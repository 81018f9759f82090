package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// The bytes of the arguments are the trailer of the message (section 5.1).
func TestPackInvoke(t *testing.T) {
	headers, err := json.Marshal(wire.SetHeaders{SecretID: "k", HasData: true})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := wire.PackInvoke(wire.Secrets, wire.SetSecret, wire.Binary{Headers: headers, Data: secret.New([]byte("v"))})
	if err != nil {
		t.Fatal(err)
	}
	header, trailer, err := wire.Unpack(payload)
	const want = `{"toolkit":"secrets","tool":"set_secret","arguments":{"type":"binary","headers":` +
		`{"secret_id":"k","type":null,"name":null,"delegated_to":null,"for_identity":null,"has_data":true}}}`
	if err != nil || string(header) != want || string(trailer) != "v" {
		t.Errorf("got %s and %q, %v; want %s", header, trailer, err, want)
	}
	if _, err := wire.PackInvoke("t", "t", wire.JSON{Object: []byte("[]")}); err == nil {
		t.Error("packed arguments that are no object")
	}
}

func TestUnpackInvoke(t *testing.T) {
	// As Python sends it: keys with null, a key of its own.
	const python = `{"__meshagent__":{"v":1},"toolkit":"secrets","tool":"get_secret","arguments":{"type":"json",` +
		`"json":{"secret_id":"k"}},"participant_id":null,"on_behalf_of_id":null,"tool_call_id":"0123","caller_context":{}}`
	call, arguments, err := wire.UnpackInvoke(wire.Pack([]byte(python), nil))
	if err != nil {
		t.Fatal(err)
	}
	if call.Toolkit != wire.Secrets || call.Tool != wire.GetSecret || call.ToolCallID != "0123" || call.ParticipantID != "" || call.OnBehalfOfID != "" {
		t.Errorf("got %+v", call)
	}
	if a, ok := arguments.(wire.JSON); !ok || string(a.Object) != `{"secret_id":"k"}` {
		t.Errorf("got the arguments %#v", arguments)
	}

	for _, header := range []string{
		`{}`,
		`{"toolkit":"t","tool":"t"}`,
		`{"toolkit":7,"tool":"t","arguments":{"type":"empty"}}`,
		`{"toolkit":"t","tool":"t","arguments":[]}`,
		`{"toolkit":"t","tool":"t","arguments":{"type":"json","json":[]}}`,
	} {
		if _, _, err := wire.UnpackInvoke(wire.Pack([]byte(header), nil)); !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("%s: %v", header, err)
		}
	}
	if _, _, err := wire.UnpackInvoke(nil); !errors.Is(err, wire.ErrProtocol) {
		t.Error(err)
	}
}

// The shapes that official clients send and accept (sections 4.1 and 6).
func TestShapes(t *testing.T) {
	for want, v := range map[string]any{
		`{"room_name":"r","room_url":"u","session_id":"s"}`:                 wire.RoomReady{RoomName: "r", RoomURL: "u", SessionID: "s"},
		`{"type":"init","participantId":"p","attributes":{"name":"alice"}}`: wire.Connected{Type: "init", ParticipantID: "p", Attributes: map[string]any{"name": "alice"}},
		`{"secrets":[]}`: wire.SecretList{},
		`{"secrets":[{"id":"i","type":"t","name":"n","delegated_to":null}]}`: wire.SecretList{Secrets: []wire.SecretInfo{{ID: "i", Type: "t", Name: "n"}}},
		`{"secret_id":"i","delegated_to":"d","for_identity":null}`:           wire.ExistsArguments{SecretID: "i", DelegatedTo: "d"},
		`{"exists":false}`: wire.ExistsResult{},
		`{"secret_id":null,"type":"t","name":"n","delegated_to":null}`:   wire.GetArguments{Type: "t", Name: "n"},
		`{"id":"i","delegated_to":null}`:                                 wire.DeleteArguments{ID: "i"},
		`{"toolkit":"t","tool":"o","arguments":{},"participant_id":"p"}`: wire.Invoke{Toolkit: "t", Tool: "o", Arguments: json.RawMessage("{}"), ParticipantID: "p"},
	} {
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%T is %s, %v; want %s", v, got, err, want)
		}
	}
}

func TestNullable(t *testing.T) {
	for in, want := range map[string]wire.Nullable{`null`: "", `""`: "", `"x"`: "x"} {
		var n wire.Nullable
		if err := json.Unmarshal([]byte(in), &n); err != nil || n != want {
			t.Errorf("%s is %q, %v", in, n, err)
		}
	}
	if b, err := json.Marshal(wire.Nullable("a\xff")); err == nil {
		t.Errorf("a name that is not UTF-8 became %s", b)
	}
	var n wire.Nullable
	if err := json.Unmarshal([]byte("7"), &n); err == nil {
		t.Error("a number became a string")
	}
}

// Text that HTML would escape is as long on the wire as it is.
func TestPackInvokeEscapesNoHTML(t *testing.T) {
	object, err := wire.EncodeJSON(map[string]string{"text": strings.Repeat("<&>", wire.MaxHeader/4)})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := wire.PackInvoke("t", "t", wire.JSON{Object: object})
	if err != nil {
		t.Fatal(err)
	}
	if _, arguments, err := wire.UnpackInvoke(payload); err != nil || !bytes.Equal(arguments.(wire.JSON).Object, object) {
		t.Errorf("%v came back", err)
	}
}
