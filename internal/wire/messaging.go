package wire

import "encoding/json"

// Messaging is the name of the messaging toolkit (section 9).
const Messaging = "messaging"

// Tools of the messaging toolkit. The arguments of enable and disable are {}.
const (
	EnableMessaging  = "enable"
	DisableMessaging = "disable"
	SendMessage      = "send"
	BroadcastMessage = "broadcast"
)

// Types of the messages that the room sends to participants with messaging, and the type
// of their Message.
const (
	MessagingEnabled      = "messaging.enabled"      // Participants, to the participant that enabled it
	ParticipantEnabled    = "participant.enabled"    // Participant
	ParticipantDisabled   = "participant.disabled"   // ParticipantID
	ParticipantAttributes = "participant.attributes" // ChangedAttributes
)

// SendArguments ask for send.
type SendArguments struct {
	ToParticipantID string `json:"to_participant_id"`
	BroadcastArguments
}

// BroadcastArguments ask for broadcast.
type BroadcastArguments struct {
	Type        string `json:"type"`
	MessageJSON string `json:"message_json"`      // the text of a JSON object
	Attachment  []byte `json:"attachment_base64"` // null for nil
}

// ReceivedMessage is the header of a messaging.send event. The attachment is the
// trailer of the event.
type ReceivedMessage struct {
	FromParticipantID string          `json:"from_participant_id"`
	Type              string          `json:"type"`
	Message           json.RawMessage `json:"message"` // an object
}

// Participants are the others that have messaging enabled.
type Participants struct {
	Participants List[Participant] `json:"participants"`
	// More is how many follow as events. Only rooms of this project report it.
	More int `json:"more,omitempty"`
}

// A Participant is a connection to the room. Participants of one identity have
// the same attribute "name".
type Participant struct {
	ID         string     `json:"id"`
	Role       string     `json:"role"`
	Attributes Attributes `json:"attributes"`
}

// Attributes describe a participant. They are never null on the wire: clients fail on
// null.
type Attributes map[string]any

// MarshalJSON writes {} for nil.
func (a Attributes) MarshalJSON() ([]byte, error) {
	if a == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]any(a))
}

// ParticipantID is a participant that disabled messaging or left.
type ParticipantID struct {
	ID string `json:"id"`
}

// ChangedAttributes are the attributes of the sender that have new values.
type ChangedAttributes struct {
	Attributes Attributes `json:"attributes"`
}
