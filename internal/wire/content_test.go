package wire_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// The table of section 5.3, header by header.
var contents = []struct {
	content         wire.Content
	header, trailer string
}{
	{wire.JSON{Object: json.RawMessage(`{"a":[1,null]}`)}, `{"type":"json","json":{"a":[1,null]}}`, ""},
	{wire.JSON{}, `{"type":"json","json":{}}`, ""},
	{wire.Text{Text: "grüße"}, `{"type":"text","text":"grüße"}`, ""},
	{wire.Text{}, `{"type":"text","text":""}`, ""},
	{wire.Empty{}, `{"type":"empty"}`, ""},
	{wire.File{Name: "n", MimeType: "text/plain", Data: secret.New([]byte("\x00\xff"))}, `{"type":"file","name":"n","mime_type":"text/plain"}`, "\x00\xff"},
	{wire.File{}, `{"type":"file","name":"","mime_type":""}`, ""},
	{wire.Binary{Headers: json.RawMessage(`{"k":null}`), Data: secret.New([]byte("v"))}, `{"type":"binary","headers":{"k":null}}`, "v"},
	{wire.Binary{}, `{"type":"binary","headers":{}}`, ""},
	{wire.Link{Name: "n", URL: "https://example.com/"}, `{"type":"link","name":"n","url":"https://example.com/"}`, ""},
	{wire.Error{Text: "no", Code: wire.NotFound}, `{"type":"error","text":"no","code":1003}`, ""},
	{wire.Error{Text: "no"}, `{"type":"error","text":"no"}`, ""},
	{wire.Control{Method: "open"}, `{"type":"control","method":"open"}`, ""},
	{wire.Control{Method: "close", StatusCode: 1000}, `{"type":"control","method":"close","status_code":1000}`, ""},
	{wire.Control{Method: "close", StatusCode: 1007, Message: "bad"}, `{"type":"control","method":"close","status_code":1007,"message":"bad"}`, ""},
	{wire.Raw{Outputs: json.RawMessage(`[{"a":1}]`)}, `{"type":"raw","outputs":[{"a":1}]}`, ""},
	{wire.Raw{}, `{"type":"raw","outputs":[]}`, ""},
}

// bytesOf shows what a secret.Value hides from reflect.DeepEqual.
func bytesOf(c wire.Content) (wire.Content, string) {
	switch c := c.(type) {
	case wire.File:
		data := string(c.Data.Reveal())
		c.Data = secret.Value{}
		return c, data
	case wire.Binary:
		data := string(c.Data.Reveal())
		c.Data = secret.Value{}
		return c, data
	}
	return c, ""
}

func TestContents(t *testing.T) {
	for _, tt := range contents {
		header, trailer, err := wire.EncodeContent(tt.content)
		if err != nil || string(header) != tt.header || string(trailer) != tt.trailer {
			t.Errorf("%T is %s and %q, %v; want %s and %q", tt.content, header, trailer, err, tt.header, tt.trailer)
		}
		back, err := wire.DecodeContent([]byte(tt.header), []byte(tt.trailer))
		if err != nil {
			t.Errorf("%s: %v", tt.header, err)
			continue
		}
		// A nil object comes back as {}, so compare what is written.
		again, _, err := wire.EncodeContent(back)
		if err != nil || string(again) != tt.header || reflect.TypeOf(back) != reflect.TypeOf(tt.content) {
			t.Errorf("%s came back as %T, %s, %v", tt.header, back, again, err)
		}
		if _, data := bytesOf(back); data != tt.trailer {
			t.Errorf("%s came back with the bytes %q", tt.header, data)
		}
	}
}

func TestDecodeContentIsTolerant(t *testing.T) {
	for header, want := range map[string]wire.Content{
		`{"__meshagent__":{"v":1,"otel":{}},"type":"empty","new":[]}`: wire.Empty{},
		`{"type":"text","text":null}`:                                 wire.Text{},
		`{"type":"binary","headers":[1]}`:                             wire.Binary{Headers: json.RawMessage(`{}`)},
		`{"type":"binary"}`:                                           wire.Binary{Headers: json.RawMessage(`{}`)},
		`{"type":"error","text":"x","code":"1003"}`:                   wire.Error{Text: "x", Code: wire.NotFound},
		`{"type":"error","text":"x","code":true}`:                     wire.Error{Text: "x"},
		`{"type":"error","text":"x","code":null}`:                     wire.Error{Text: "x"},
	} {
		got, err := wire.DecodeContent([]byte(header), nil)
		if got != nil {
			got, _ = bytesOf(got)
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, %v; want %#v", header, got, err, want)
		}
	}
}

func TestDecodeContentRefuses(t *testing.T) {
	for _, header := range []string{
		``, `null`, `[]`, `{}`, `{"type":null}`, `{"type":7}`,
		`{"type":"` + strings.Repeat("x", 1000) + `"}`,
		`{"type":"json"}`, `{"type":"json","json":null}`, `{"type":"json","json":[]}`, `{"type":"json","json":"{}"}`,
		`{"type":"text","text":1}`,
		`{"type":"file","name":"hunter2-canary","mime_type":1}`,
	} {
		c, err := wire.DecodeContent([]byte(header), nil)
		if !errors.Is(err, wire.ErrProtocol) {
			t.Errorf("%.80s is %#v, %v", header, c, err)
			continue
		}
		if len(err.Error()) > 200 || strings.Contains(err.Error(), "canary") {
			t.Errorf("the error repeats its input: %v", err)
		}
	}
}

func TestEncodeContentRefuses(t *testing.T) {
	for _, bad := range []string{"", "[]", "null", "canary", `{"a":"` + "\xff" + `"}`} {
		for _, c := range []wire.Content{wire.JSON{Object: []byte(bad)}, wire.Binary{Headers: []byte(bad)}} {
			if header, _, err := wire.EncodeContent(c); err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("%T of %q: %s, %v", c, bad, header, err)
			}
		}
	}
	if _, err := wire.PackContent(wire.Raw{Outputs: []byte("canary")}); err == nil || strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

// What a peer's Unpack would refuse is not sent.
func TestPackRefusesWhatUnpackRefuses(t *testing.T) {
	for name, c := range map[string]wire.Content{
		"long": wire.Text{Text: strings.Repeat("x", wire.MaxHeader)},
		"deep": wire.JSON{Object: []byte(strings.Repeat(`{"a":`, wire.MaxDepth-1) + "{}" + strings.Repeat("}", wire.MaxDepth-1))},
	} {
		if _, err := wire.PackContent(c); err == nil {
			t.Errorf("packed a %s header", name)
		}
		if _, err := wire.PackInvoke("t", "t", c); err == nil {
			t.Errorf("packed a call with a %s header", name)
		}
	}
}

func TestCode(t *testing.T) {
	for in, want := range map[string]wire.Code{
		`1003`: 1003, `"1003"`: 1003, `" 1003"`: 0, `"x"`: 0, `""`: 0, `1003.5`: 0, `"1003.0"`: 0, `1e3`: 0,
		`true`: 0, `null`: 0, `[1]`: 0, `{"a":1}`: 0, `99999999999999999999`: 0, `"-99999999999999999999"`: 0, `-1`: -1,
	} {
		code := wire.Code(7)
		if err := json.Unmarshal([]byte(in), &code); err != nil || code != want {
			t.Errorf("%s is %d, %v; want %d", in, code, err, want)
		}
	}
}
