package wire

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/roomenv/roomenv/secret"
)

// Content is the arguments of a call and the result in a response: one of [JSON],
// [Text], [Empty], [File], [Binary], [Link], [Error], [Control] and [Raw]
// (section 5.3). Bytes travel in the trailer of the message, the rest in its
// header.
type Content interface {
	content() (header contentHeader, trailer []byte)
}

// JSON is a JSON object. A nil Object is written as {}.
type JSON struct{ Object json.RawMessage }

// Text is a string.
type Text struct{ Text string }

// Empty has no content: a secret that does not exist, an acknowledgement.
type Empty struct{}

// File is bytes with a name and a media type: a secret.
type File struct {
	Name, MimeType string
	Data           secret.Value
	DelegatedBy    string // the owner of a secret of another participant; "" if not reported
}

// Binary is bytes with headers: the arguments of set_secret.
type Binary struct {
	Headers json.RawMessage // an object; nil is written as {}
	Data    secret.Value
}

// Link is a named URL.
type Link struct{ Name, URL string }

// Error is a call that failed. As an error its text is that of the room.
type Error struct {
	Text string
	Code Code // 0 when the room sent none
}

// Control opens and closes a stream.
type Control struct {
	Method     string // open or close
	StatusCode int
	Message    string
}

// Raw is a list of model outputs. Only the Python SDK has it.
type Raw struct{ Outputs json.RawMessage }

func (e Error) Error() string { return e.Text }

// A Code is the kind of an [Error] (section 5.4).
type Code int

// Codes that rooms send.
const (
	PermissionDenied  Code = 1001
	InvalidRequest    Code = 1002
	NotFound          Code = 1003
	AlreadyExists     Code = 1004
	Conflict          Code = 1005
	InvalidState      Code = 1006
	DependencyMissing Code = 1007
	OperationFailed   Code = 1008
	Timeout           Code = 1009
)

// UnmarshalJSON reads an integer or a numeric string. All else is 0.
func (c *Code) UnmarshalJSON(b []byte) error {
	s := string(b)
	if unquoted, err := strconv.Unquote(s); err == nil {
		s = unquoted
	}
	// If ParseInt fails, it returns the nearest integer, which is not the code.
	*c = 0
	if n, err := strconv.ParseInt(s, 10, 32); err == nil {
		*c = Code(n)
	}
	return nil
}

// contentHeader is the union of all content headers. Pointers are fields that may be
// empty.
type contentHeader struct {
	Type       string          `json:"type"`
	JSON       json.RawMessage `json:"json,omitempty"`
	Text       *string         `json:"text,omitempty"`
	Name       *string         `json:"name,omitempty"`
	MimeType   *string         `json:"mime_type,omitempty"`
	Delegated  string          `json:"delegated_by,omitempty"`
	Headers    json.RawMessage `json:"headers,omitempty"`
	URL        *string         `json:"url,omitempty"`
	Code       Code            `json:"code,omitempty"`
	Method     string          `json:"method,omitempty"`
	StatusCode int             `json:"status_code,omitempty"`
	Message    string          `json:"message,omitempty"`
	Outputs    json.RawMessage `json:"outputs,omitempty"`
}

func (c JSON) content() (contentHeader, []byte) {
	return contentHeader{Type: "json", JSON: orEmpty(c.Object, "{}")}, nil
}
func (c Text) content() (contentHeader, []byte) {
	return contentHeader{Type: "text", Text: &c.Text}, nil
}
func (c Empty) content() (contentHeader, []byte) {
	return contentHeader{Type: "empty"}, nil
}
func (c File) content() (contentHeader, []byte) {
	return contentHeader{Type: "file", Name: &c.Name, MimeType: &c.MimeType, Delegated: c.DelegatedBy}, c.Data.Reveal()
}
func (c Binary) content() (contentHeader, []byte) {
	return contentHeader{Type: "binary", Headers: orEmpty(c.Headers, "{}")}, c.Data.Reveal()
}
func (c Link) content() (contentHeader, []byte) {
	return contentHeader{Type: "link", Name: &c.Name, URL: &c.URL}, nil
}
func (e Error) content() (contentHeader, []byte) {
	return contentHeader{Type: "error", Text: &e.Text, Code: e.Code}, nil
}
func (c Control) content() (contentHeader, []byte) {
	return contentHeader{Type: "control", Method: c.Method, StatusCode: c.StatusCode, Message: c.Message}, nil
}
func (c Raw) content() (contentHeader, []byte) {
	return contentHeader{Type: "raw", Outputs: orEmpty(c.Outputs, "[]")}, nil
}

func orEmpty(b json.RawMessage, empty string) json.RawMessage {
	if b == nil {
		return json.RawMessage(empty)
	}
	return b
}

// EncodeContent returns c as a header, which is an object, and a trailer. It fails if a
// JSON field of c is invalid.
func EncodeContent(c Content) (header json.RawMessage, trailer []byte, err error) {
	h, trailer := c.content()
	for _, o := range []json.RawMessage{h.JSON, h.Headers} {
		if o != nil && checkObject(o) != nil {
			return nil, nil, fmt.Errorf("encode %s content: not a JSON object", h.Type)
		}
	}
	if header, err = EncodeJSON(h); err != nil {
		// A JSON error can quote its input, which may be secret.
		return nil, nil, fmt.Errorf("encode %s content: invalid JSON", h.Type)
	}
	return header, trailer, nil
}

// DecodeContent is the inverse of [EncodeContent]. header was accepted by [Unpack], or is
// a part of such a header. The content shares memory with trailer. Errors wrap
// [ErrProtocol].
func DecodeContent(header json.RawMessage, trailer []byte) (Content, error) {
	var h contentHeader
	if err := json.Unmarshal(header, &h); err != nil {
		// The text of a JSON error can quote its input, which may be secret.
		return nil, violation("a content header has fields of a wrong type")
	}
	switch h.Type {
	case "json":
		if !isObject(h.JSON) {
			return nil, violation("json content is not an object")
		}
		return JSON{h.JSON}, nil
	case "text":
		return Text{deref(h.Text)}, nil
	case "empty":
		return Empty{}, nil
	case "file":
		return File{deref(h.Name), deref(h.MimeType), secret.New(trailer), h.Delegated}, nil
	case "binary":
		if !isObject(h.Headers) {
			h.Headers = json.RawMessage("{}")
		}
		return Binary{h.Headers, secret.New(trailer)}, nil
	case "link":
		return Link{deref(h.Name), deref(h.URL)}, nil
	case "error":
		return Error{deref(h.Text), h.Code}, nil
	case "control":
		return Control{h.Method, h.StatusCode, h.Message}, nil
	case "raw":
		return Raw{orEmpty(h.Outputs, "[]")}, nil
	}
	return nil, violation("unknown content type %.40q", h.Type)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// PackContent returns the payload of a message with c alone: a response.
func PackContent(c Content) ([]byte, error) {
	header, trailer, err := EncodeContent(c)
	if err != nil {
		return nil, err
	}
	return pack(header, trailer)
}

// UnpackContent is the inverse of [PackContent].
func UnpackContent(payload []byte) (Content, error) {
	header, trailer, err := Unpack(payload)
	if err != nil {
		return nil, err
	}
	return DecodeContent(header, trailer)
}
