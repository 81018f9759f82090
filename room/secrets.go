package room

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// Secrets is a room's secrets toolkit (section 6). A secret belongs to the
// identity that stored it, under an id that is unique together with whom it is
// delegated to. A room may have no such toolkit: [ErrUnsupported].
//
// Every operation waits until its context ends. When the connection drops it
// is sent again, unless that could do something twice. Errors are an [*Error]
// of the room, [ErrDisconnected], [ErrUnexpectedAnswer], the context's, or
// [Client.Err] of a client that has ended.
type Secrets struct{ client *Client }

// Secrets returns the room's secrets.
func (c *Client) Secrets() *Secrets { return &Secrets{c} }

// SecretInfo is a secret without its value. Its strings are the room's, as
// they came.
type SecretInfo struct {
	ID          string
	Type        string // a media type, by custom
	Name        string
	DelegatedTo string // an identity; "" for nobody
}

// List returns all secrets of our own (list_secrets).
func (s *Secrets) List(ctx context.Context) ([]SecretInfo, error) {
	var result struct {
		Secrets *[]wire.SecretInfo `json:"secrets"`
	}
	if _, err := s.ask(ctx, wire.ListSecrets, struct{}{}, &result); err != nil {
		return nil, unsupported(err)
	}
	if result.Secrets == nil {
		return nil, unexpected(wire.ListSecrets, "no list")
	}
	infos := make([]SecretInfo, len(*result.Secrets))
	for i, info := range *result.Secrets {
		infos[i] = SecretInfo{info.ID, info.Type, info.Name, string(info.DelegatedTo)}
	}
	return infos, nil
}

// A SecretQuery names a secret by its ID or, without one, by its Type and
// Name. DelegatedTo is part of the address: a secret that is delegated is
// found under it alone.
type SecretQuery struct {
	ID          string
	Type        string
	Name        string
	DelegatedTo string
}

// A Secret is a secret as get_secret answers it.
type Secret struct {
	Name  string
	Type  string
	Value secret.Value
}

// Get returns a secret (get_secret). A secret that is missing is
// [ErrNotFound].
func (s *Secrets) Get(ctx context.Context, q SecretQuery) (Secret, error) {
	content, _, err := s.invoke(ctx, wire.GetSecret, wire.GetArguments{
		SecretID:    wire.Nullable(q.ID),
		Type:        wire.Nullable(q.Type),
		Name:        wire.Nullable(q.Name),
		DelegatedTo: wire.Nullable(q.DelegatedTo),
	}, nil, true)
	if err != nil {
		return Secret{}, unsupported(err)
	}
	switch content := content.(type) {
	case wire.File:
		return Secret{content.Name, content.MimeType, content.Data}, nil
	case wire.Empty:
		return Secret{}, &Error{Op: op(wire.GetSecret), Code: int(wire.NotFound), Text: "there is no such secret"}
	}
	return Secret{}, unexpected(wire.GetSecret, contentType(content))
}

// NewSecret is what Set stores. Without an ID the room finds the secret to
// update by Type and Name, or makes an ID. ForIdentity stores it for someone
// else, which takes the admin grant (section 7.3).
type NewSecret struct {
	ID          string
	Type        string
	Name        string
	DelegatedTo string
	ForIdentity string
	Value       secret.Value // may be empty; the whole request is up to 16 MiB
}

// Set stores a secret, or replaces its value (set_secret). Without an ID it
// is not sent twice and can fail with [ErrDisconnected].
func (s *Secrets) Set(ctx context.Context, n NewSecret) error {
	content, _, err := s.invoke(ctx, wire.SetSecret, wire.SetHeaders{
		SecretID:    wire.Nullable(n.ID),
		Type:        wire.Nullable(n.Type),
		Name:        wire.Nullable(n.Name),
		DelegatedTo: wire.Nullable(n.DelegatedTo),
		ForIdentity: wire.Nullable(n.ForIdentity),
		HasData:     true,
	}, &n.Value, n.ID != "")
	if err != nil {
		return unsupported(err)
	}
	return acknowledged(wire.SetSecret, content)
}

// An ExistsQuery names a secret by its ID, of our own or, with the admin
// grant, of ForIdentity.
type ExistsQuery struct {
	ID          string
	DelegatedTo string
	ForIdentity string
}

// Exists reports whether there is a secret (exists).
func (s *Secrets) Exists(ctx context.Context, q ExistsQuery) (bool, error) {
	var result struct {
		Exists *bool `json:"exists"`
	}
	if _, err := s.ask(ctx, wire.Exists, wire.ExistsArguments{
		SecretID:    wire.Nullable(q.ID),
		DelegatedTo: wire.Nullable(q.DelegatedTo),
		ForIdentity: wire.Nullable(q.ForIdentity),
	}, &result); err != nil {
		return false, unsupported(err)
	}
	if result.Exists == nil {
		return false, unexpected(wire.Exists, "neither true nor false")
	}
	return *result.Exists, nil
}

// Delete removes a secret (delete_secret). delegatedTo is that of the secret,
// "" for none. A secret that is missing is [ErrNotFound] where the room says
// so, but not after a connection was lost: the first try may have removed it.
func (s *Secrets) Delete(ctx context.Context, id, delegatedTo string) error {
	return doneBefore(s.ask(ctx, wire.DeleteSecret, wire.DeleteArguments{
		ID:          wire.Nullable(id),
		DelegatedTo: wire.Nullable(delegatedTo),
	}, nil))
}

// ask makes a request of JSON that may be repeated. With a result it wants an
// answer of JSON, without one an acknowledgement.
func (s *Secrets) ask(ctx context.Context, tool string, arguments, result any) (sent int, err error) {
	content, sent, err := s.invoke(ctx, tool, arguments, nil, true)
	if err != nil {
		return sent, err
	}
	if result == nil {
		return sent, acknowledged(tool, content)
	}
	answer, ok := content.(wire.JSON)
	if !ok {
		return sent, unexpected(tool, contentType(content))
	}
	if json.Unmarshal(answer.Object, result) != nil {
		return sent, unexpected(tool, "a field of a wrong type")
	}
	return sent, nil
}

// unsupported tells "there is no such operation" from "there is no such
// secret", which have one code: of the operations only delete_secret says the
// second with an error.
func unsupported(err error) error {
	if answer, ok := errors.AsType[*Error](err); ok && answer.Code == int(wire.NotFound) {
		return fmt.Errorf("%w: %s", ErrUnsupported, answer.Error()) // nobody shall find ErrNotFound in it
	}
	return err
}

func op(tool string) string { return wire.Secrets + "." + tool }

// invoke calls a tool with its arguments as JSON or, with data, as the headers of
// binary content.
func (s *Secrets) invoke(ctx context.Context, tool string, arguments any, data *secret.Value, repeatable bool) (_ wire.Content, sent int, err error) {
	object, err := wire.EncodeJSON(arguments)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", op(tool), err)
	}
	if data != nil {
		return s.client.invoke(ctx, wire.Secrets, tool, wire.Binary{Headers: object, Data: *data}, repeatable)
	}
	return s.client.invoke(ctx, wire.Secrets, tool, wire.JSON{Object: object}, repeatable)
}

// acknowledged accepts what rooms say for "done".
func acknowledged(tool string, content wire.Content) error {
	switch content.(type) {
	case wire.Empty, wire.JSON:
		return nil
	}
	return unexpected(tool, contentType(content))
}

func unexpected(tool, what string) error {
	return fmt.Errorf("%w to %s: %s", ErrUnexpectedAnswer, op(tool), what)
}

// contentType is the name of c on the wire.
func contentType(c wire.Content) string {
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", c), "wire."))
}
