package wire

import (
	"encoding/json"
	"fmt"
)

// Message types (sections 4, 5, 6.1 and 9).
const (
	TypeRoomReady         = "room_ready"
	TypeConnected         = "connected"
	TypeSetAttributes     = "set_attributes"
	TypeInvokeTool        = "room.invoke_tool"
	TypeListToolkits      = "room.list_toolkits"
	TypeRequestChunk      = "room.tool_call_request_chunk"
	TypeResponseChunk     = "room.tool_call_response_chunk"
	TypeResponse          = "__response__"
	TypeRequestSecret     = "secrets.request_secret"
	TypeRequestOAuthToken = "secrets.request_oauth_token"
	TypeMessagingSend     = "messaging.send"
)

// RoomReady is one of the two headers that a room opens a session with.
type RoomReady struct {
	RoomName  string `json:"room_name"`
	RoomURL   string `json:"room_url"`
	SessionID string `json:"session_id"`
}

// Connected is the other one. Type is "init".
type Connected struct {
	Type          string         `json:"type"`
	ParticipantID string         `json:"participantId"`
	Attributes    map[string]any `json:"attributes"`
}

// An Invoke is the header of a room.invoke_tool request (section 5.1). The
// trailer of the message is the trailer of Arguments.
type Invoke struct {
	Toolkit       string          `json:"toolkit"`
	Tool          string          `json:"tool"`
	Arguments     json.RawMessage `json:"arguments"` // a content header
	ParticipantID Nullable        `json:"participant_id,omitempty"`
	OnBehalfOfID  Nullable        `json:"on_behalf_of_id,omitempty"`
	ToolCallID    string          `json:"tool_call_id,omitempty"`
}

// PackInvoke returns the payload of a call of tool with arguments.
func PackInvoke(toolkit, tool string, arguments Content) ([]byte, error) {
	return packInvoke(Invoke{Toolkit: toolkit, Tool: tool}, arguments)
}

func packInvoke(call Invoke, arguments Content) (_ []byte, err error) {
	var trailer []byte
	if call.Arguments, trailer, err = EncodeContent(arguments); err != nil {
		return nil, err
	}
	invoke, err := EncodeJSON(call)
	if err != nil {
		return nil, fmt.Errorf("encode call of %s.%s: %w", call.Toolkit, call.Tool, err)
	}
	return pack(invoke, trailer)
}

// UnpackInvoke is the inverse of [PackInvoke].
func UnpackInvoke(payload []byte) (Invoke, Content, error) {
	header, trailer, err := Unpack(payload)
	if err != nil {
		return Invoke{}, nil, err
	}
	var call Invoke
	if err := json.Unmarshal(header, &call); err != nil {
		return Invoke{}, nil, violation("a call has fields of a wrong type")
	}
	arguments, err := DecodeContent(call.Arguments, trailer)
	return call, arguments, err
}
