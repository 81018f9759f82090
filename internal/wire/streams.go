package wire

import (
	"encoding/json"
	"fmt"
)

// Methods of a [Control], and the status code that closes a stream without an error.
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

// PackOpen returns the payload of a call of tool that opens the stream callID.
func PackOpen(toolkit, tool, callID string) ([]byte, error) {
	return packInvoke(Invoke{Toolkit: toolkit, Tool: tool, ToolCallID: callID}, Control{Method: Open})
}

// PackChunk returns the payload of a message with a chunk of the stream callID.
func PackChunk(callID string, c Content) ([]byte, error) {
	header, trailer, err := EncodeContent(c)
	if err != nil {
		return nil, err
	}
	if header, err = EncodeJSON(chunk{callID, header}); err != nil {
		return nil, fmt.Errorf("encode chunk: %w", err)
	}
	return pack(header, trailer)
}

// UnpackChunk is the inverse of [PackChunk]. It returns the stream also with an error
// about the content.
func UnpackChunk(payload []byte) (callID string, _ Content, err error) {
	header, trailer, err := Unpack(payload)
	if err != nil {
		return "", nil, err
	}
	var c chunk
	if json.Unmarshal(header, &c) != nil {
		return "", nil, violation("a chunk has fields of a wrong type")
	}
	content, err := DecodeContent(c.Chunk, trailer)
	return c.ToolCallID, content, err
}
