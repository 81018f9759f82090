package localroom

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// A toolkit is a named set of tools that participants call.
type toolkit struct {
	title, description string
	tools              map[string]tool
}

// A tool is one operation.
type tool struct {
	name        string // with its toolkit; set by find
	description string
	run         toolFunc

	// post, if any, posts events that follow the response.
	post func(caller *session)

	// stream, if any, makes the tool one that is called only as a stream (section
	// 5.1). It sends chunks after the response, until it is stopped.
	stream streamFunc

	// reads says that run changes nothing and may run twice.
	reads bool

	// waits makes run, which may wait for other participants or providers, run in a
	// goroutine of its own. Its context ends with the session of the caller.
	waits bool
}

type toolFunc = func(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error)

// tool returns the tool that call names.
func (s *session) tool(call wire.Invoke, arguments wire.Content) (tool, error) {
	kit, ok := s.server.toolkits[call.Toolkit]
	if !ok {
		return tool{}, refuse(wire.NotFound, "unknown toolkit %.80q", call.Toolkit)
	}
	t, ok := kit.tools[call.Tool]
	if !ok {
		return tool{}, refuse(wire.NotFound, "toolkit %s has no tool %.80q", call.Toolkit, call.Tool)
	}
	if call.OnBehalfOfID != "" && string(call.OnBehalfOfID) != s.id {
		return tool{}, refuse(wire.PermissionDenied, "on_behalf_of_id is not the caller")
	}
	if t.stream != nil {
		return s.opening(call, arguments, t)
	}
	return t, nil
}

// listToolkits is room.list_toolkits (section 5.2). It leaves out input types: the SDKs
// throw at some that are in use.
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

// with decodes the arguments of a tool: the fields of a JSON object, or of the
// headers of a value.
func with[A any](run func(ctx context.Context, caller *session, a A) (wire.Content, error)) toolFunc {
	return func(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
		var object json.RawMessage
		switch a := arguments.(type) {
		case wire.JSON:
			object = a.Object
		case wire.Binary:
			object = a.Headers
		default:
			return nil, refuse(wire.InvalidRequest, "want json or binary arguments")
		}
		var a A
		if json.Unmarshal(object, &a) != nil { // its text may quote a value
			return nil, refuse(wire.InvalidRequest, "invalid arguments: wrong type of a field")
		}
		return run(ctx, caller, a)
	}
}

// withValue is with for a tool that takes a value.
func withValue[H any](run func(ctx context.Context, caller *session, h H, value secret.Value) (wire.Content, error)) toolFunc {
	return func(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
		value, ok := arguments.(wire.Binary)
		if !ok {
			return nil, refuse(wire.InvalidRequest, "want binary arguments")
		}
		return with(func(ctx context.Context, caller *session, h H) (wire.Content, error) {
			return run(ctx, caller, h, value.Data)
		})(ctx, caller, arguments)
	}
}

// refuse returns an error that is sent to the caller.
func refuse(code wire.Code, format string, args ...any) error {
	return wire.Error{Code: code, Text: fmt.Sprintf(format, args...)}
}
