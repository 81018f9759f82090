package localroom

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/roomenv/roomenv/internal/wire"
)

// A toolkit is a named set of tools that participants call.
type toolkit struct {
	title, description string
	tools              map[string]tool
}

// A tool is one operation.
type tool struct {
	description string
	run         toolFunc

	// before, if any, precedes the answer, and what it posts follows that.
	before func(caller *session)

	// then, if any, follows the answer.
	then func(caller *session)

	// stream, if any, sends what comes after the answer until it is stopped. It
	// is called in a stream alone (section 5.1).
	stream streamFunc

	// waits says that run may take as long as somebody else likes. Then it runs
	// beside the others. Its context ends with the session of the caller; with
	// one that ends with the server it may go on.
	waits bool
}

type toolFunc = func(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error)

// tool returns what call is for.
func (s *session) tool(call wire.Invoke, arguments wire.Content) (tool, error) {
	kit, ok := s.server.toolkits[call.Toolkit]
	if !ok {
		return tool{}, wire.Error{Code: wire.NotFound, Text: fmt.Sprintf("there is no toolkit %.80q in this room", call.Toolkit)}
	}
	t, ok := kit.tools[call.Tool]
	if !ok {
		return tool{}, wire.Error{Code: wire.NotFound, Text: fmt.Sprintf("the toolkit %s has no tool %.80q", call.Toolkit, call.Tool)}
	}
	if call.OnBehalfOfID != "" && string(call.OnBehalfOfID) != s.id {
		return tool{}, wire.Error{Code: wire.PermissionDenied, Text: "a participant acts for itself only"}
	}
	if t.stream != nil {
		return s.opening(call, arguments, t)
	}
	return t, nil
}

// listToolkits answers room.list_toolkits (section 5.2). It tells no input
// types: the SDKs throw at some that are in use.
func listToolkits(_ context.Context, caller *session, _ wire.Content) (wire.Content, error) {
	type toolInfo struct {
		Title       string `json:"title"`
		Description string `json:"description"`
	}
	type toolkitInfo struct {
		Title       string              `json:"title"`
		Description string              `json:"description"`
		Tools       map[string]toolInfo `json:"tools"`
	}
	list := map[string]toolkitInfo{}
	for name, kit := range caller.server.toolkits {
		info := toolkitInfo{kit.title, kit.description, map[string]toolInfo{}}
		for name, t := range kit.tools {
			info.Tools[name] = toolInfo{name, t.description}
		}
		list[name] = info
	}
	return jsonContent(map[string]any{"tools": list})
}

func jsonContent(object any) (wire.Content, error) {
	b, err := wire.EncodeJSON(object)
	return wire.JSON{Object: b}, err
}

// decode reads the fields of arguments, which are those of a JSON object or
// the headers of a value.
func decode(arguments wire.Content, fields any) error {
	var object json.RawMessage
	switch a := arguments.(type) {
	case wire.JSON:
		object = a.Object
	case wire.Binary:
		object = a.Headers
	default:
		return wire.Error{Code: wire.InvalidRequest, Text: "the arguments are neither json nor binary"}
	}
	if json.Unmarshal(object, fields) != nil { // its text may quote a value
		return wire.Error{Code: wire.InvalidRequest, Text: "an argument has a wrong type"}
	}
	return nil
}
