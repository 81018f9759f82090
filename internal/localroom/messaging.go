package localroom

import (
	"context"
	"encoding/json"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/room/token"
)

// messagingToolkit is the messaging toolkit (section 9).
func messagingToolkit() toolkit {
	return toolkit{
		title:       "Messaging",
		description: "Presence of participants, and messages between them",
		tools: map[string]tool{
			wire.EnableMessaging:  {description: "List the other participants, and be listed", run: messaging(nil, nothing), post: enable},
			wire.DisableMessaging: {description: "Stop being listed", run: messaging(nil, disable)},
			wire.SendMessage: {description: "Send a message to a participant", run: messaging(
				func(m *token.MessagingScope) *bool { return m.Send }, with(send))},
			wire.BroadcastMessage: {description: "Send a message to all other participants", run: messaging(
				func(m *token.MessagingScope) *bool { return m.Broadcast }, with(broadcast))},
		},
	}
}

// messaging is for tools that need the messaging scope and a right in it, if not nil.
func messaging(right func(*token.MessagingScope) *bool, run toolFunc) toolFunc {
	return func(ctx context.Context, caller *session, arguments wire.Content) (wire.Content, error) {
		api := caller.who.API
		if api == nil || api.Messaging == nil {
			return nil, refuse(wire.PermissionDenied, "the token does not grant api.messaging")
		}
		if right != nil && !granted(right(api.Messaging)) {
			return nil, refuse(wire.PermissionDenied, "the token denies this part of api.messaging")
		}
		return run(ctx, caller, arguments)
	}
}

// granted returns the value of a right, which is true by default.
func granted(right *bool) bool { return right == nil || *right }

// sees reports whether s may list participants.
func (s *session) sees() bool { return granted(s.who.API.Messaging.List) }

func nothing(context.Context, *session, wire.Content) (wire.Content, error) {
	return wire.Empty{}, nil
}

func enable(caller *session) { caller.room.enable(caller) }

func disable(_ context.Context, caller *session, _ wire.Content) (wire.Content, error) {
	caller.room.disable(caller)
	return wire.Empty{}, nil
}

func send(_ context.Context, caller *session, a wire.SendArguments) (wire.Content, error) {
	e, err := messageOf(caller, a.BroadcastArguments)
	if err != nil {
		return nil, err
	}
	to, err := caller.room.reachable(a.ToParticipantID)
	if err != nil {
		return nil, err
	}
	if !to.post(e) {
		return nil, errSlow
	}
	return wire.Empty{}, nil
}

func broadcast(_ context.Context, caller *session, a wire.BroadcastArguments) (wire.Content, error) {
	e, err := messageOf(caller, a)
	if err != nil {
		return nil, err
	}
	missed := 0
	for _, p := range caller.room.audience(caller) {
		if !p.post(e) {
			missed++
		}
	}
	if missed > 0 {
		return nil, refuse(wire.OperationFailed, "%d participants do not read their events", missed)
	}
	return wire.Empty{}, nil
}

// messageOf returns the message of a caller. It refuses the types that are reserved for
// the room: with them a participant could impersonate others.
func messageOf(caller *session, a wire.BroadcastArguments) (event, error) {
	switch a.Type {
	case wire.MessagingEnabled, wire.ParticipantEnabled, wire.ParticipantDisabled, wire.ParticipantAttributes:
		return event{}, refuse(wire.InvalidRequest, "messages of type %s are reserved for the room", a.Type)
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(a.MessageJSON), &object) != nil || object == nil {
		return event{}, refuse(wire.InvalidRequest, "message_json is not a JSON object")
	}
	return newMessage(caller.id, a.Type, json.RawMessage(a.MessageJSON), a.Attachment)
}
