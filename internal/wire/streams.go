package wire

import (
	"encoding/json"
	"fmt"
)

// Methods of a [Control], and the status code of one that closes a stream with
// nothing amiss.
const (
	Open  = "open"
	Close = "close"

	CloseNormal = 1000
)

// chunk is the header of a [TypeRequestChunk] or [TypeResponseChunk] message
// (section 5.1). The trailer of the message is that of the chunk.
type chunk struct {
	ToolCallID string          `json:"tool_call_id"`
	Chunk      json.RawMessage `json:"chunk"` // a content header
}

// PackOpen is the payload of a call of tool that opens the stream callID.
func PackOpen(toolkit, tool, callID string) ([]byte, error) {
	return packInvoke(Invoke{Toolkit: toolkit, Tool: tool, ToolCallID: callID}, Control{Method: Open})
}

// PackChunk is the payload of a message with a piece of the stream callID.
func PackChunk(callID string, c Content) ([]byte, error) {
	header, trailer, err := EncodeContent(c)
	if err != nil {
		return nil, err
	}
	if header, err = EncodeJSON(chunk{callID, header}); err != nil {
		return nil, fmt.Errorf("cannot encode a piece of a stream: %w", err)
	}
	return pack(header, trailer)
}

// UnpackChunk is the inverse of [PackChunk]. With an error about the content
// it tells whose that is all the same.
func UnpackChunk(payload []byte) (callID string, _ Content, err error) {
	header, trailer, err := Unpack(payload)
	if err != nil {
		return "", nil, err
	}
	var c chunk
	if json.Unmarshal(header, &c) != nil {
		return "", nil, violation("a piece of a stream has fields of a wrong type")
	}
	content, err := DecodeContent(c.Chunk, trailer)
	return c.ToolCallID, content, err
}
