package room

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// Secrets is a room's secrets toolkit (section 6). A secret belongs to the identity that
// stored it. Its ID is unique together with the identity that it is delegated to. A room
// may not have the toolkit: [ErrUnsupported].
//
// Every operation waits until its context ends. After a reconnect it is sent again,
// unless that could have an effect twice. Errors are an [*Error] of the room,
// [ErrDisconnected], [ErrUnexpectedAnswer], that of the context, or [Client.Err] of a
// client that is closed.
type Secrets struct{ client *Client }

// Secrets returns the secrets toolkit of the room.
func (c *Client) Secrets() *Secrets { return &Secrets{c} }

// SecretInfo is a secret without its value. Its strings are unchanged ones of the room.
type SecretInfo struct {
	ID          string
	Type        string // usually a media type
	Name        string
	DelegatedTo string // an identity; "" if it is not delegated
	DelegatedBy string // its owner; "" if that is this identity
}

// maxList bounds a list in memory, where a secret takes its text and listOverhead, in
// bytes.
var maxList = 256 << 20 // tests lower it

const listOverhead = 80

// List returns all secrets of this identity by name, then ID (list_secrets), and in a
// room that lists them those that others delegated to it. It makes a call for each page
// of a room that has pages; other rooms fail if the list does not fit into a message.
func (s *Secrets) List(ctx context.Context) ([]SecretInfo, error) {
	infos := []SecretInfo{}
	for page, size := (wire.ListArguments{Paged: true}), 0; ; {
		var result struct {
			Secrets *[]wire.SecretInfo `json:"secrets"`
			Next    wire.Nullable      `json:"next"`
		}
		_, err := s.ask(ctx, wire.ListSecrets, page, &result)
		switch {
		case err != nil:
			return nil, unsupported(err)
		case result.Secrets == nil:
			return nil, unexpected(wire.ListSecrets, "no list")
		case result.Next != "" && result.Next == page.After:
			return nil, unexpected(wire.ListSecrets, "the same page twice")
		}
		for _, i := range *result.Secrets {
			info := SecretInfo{i.ID, i.Type, i.Name, string(i.DelegatedTo), string(i.DelegatedBy)}
			size += listOverhead + len(info.ID) + len(info.Type) + len(info.Name) + len(info.DelegatedTo) + len(info.DelegatedBy)
			infos = append(infos, info)
		}
		if size > maxList {
			return nil, unexpected(wire.ListSecrets, fmt.Sprintf("more than %d MiB", maxList>>20))
		}
		if page.After = result.Next; page.After == "" {
			break
		}
	}
	slices.SortFunc(infos, func(a, b SecretInfo) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID),
			strings.Compare(a.DelegatedTo, b.DelegatedTo), strings.Compare(a.DelegatedBy, b.DelegatedBy))
	})
	return infos, nil
}

// A SecretQuery selects a secret by ID or, without one, by Type and Name. A secret that
// is delegated is only found with its DelegatedTo, or with the DelegatedBy of another
// participant, its owner.
type SecretQuery struct {
	ID          string
	Type        string
	Name        string
	DelegatedTo string // "" with DelegatedBy is this identity
	DelegatedBy string
}

// A Secret is a secret with its value.
type Secret struct {
	Name        string
	Type        string
	Value       secret.Value
	DelegatedBy string // its owner; "" if that is this identity, or the room does not report it
}

// Get returns a secret (get_secret). If it does not exist, it is [ErrNotFound]. A room
// that does not report owners is [ErrUnsupported] for a query with a DelegatedBy.
func (s *Secrets) Get(ctx context.Context, q SecretQuery) (Secret, error) {
	content, _, err := s.invoke(ctx, wire.GetSecret, wire.GetArguments{
		SecretID:    wire.Nullable(q.ID),
		Type:        wire.Nullable(q.Type),
		Name:        wire.Nullable(q.Name),
		DelegatedTo: wire.Nullable(q.DelegatedTo),
		DelegatedBy: wire.Nullable(q.DelegatedBy),
	}, nil, true)
	if err != nil {
		return Secret{}, unsupported(err)
	}
	switch content := content.(type) {
	case wire.File:
		if by := content.DelegatedBy; q.DelegatedBy != "" && by != q.DelegatedBy && (by != "" || q.DelegatedBy != s.client.Session().Name) {
			return Secret{}, fmt.Errorf("%w: %s does not report who delegated a secret", ErrUnsupported, op(wire.GetSecret))
		}
		return Secret{content.Name, content.MimeType, content.Data, content.DelegatedBy}, nil
	case wire.Empty:
		return Secret{}, &Error{Op: op(wire.GetSecret), Code: int(wire.NotFound), Text: "secret not found"}
	}
	return Secret{}, unexpected(wire.GetSecret, contentType(content))
}

// NewSecret is what Set stores. Without an ID the room updates the secret with this Type
// and Name, or makes an ID. ForIdentity stores it for a different identity, which
// requires the admin grant (section 7.3).
type NewSecret struct {
	ID          string
	Type        string
	Name        string
	DelegatedTo string
	ForIdentity string
	Value       secret.Value // may be empty; the call has at most 16 MiB
}

// Set stores a secret, or replaces its value (set_secret). Without an ID it is not sent
// twice, and may fail with [ErrDisconnected].
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

// An ExistsQuery selects a secret by ID, of this identity or, with the admin grant, of
// ForIdentity.
type ExistsQuery struct {
	ID          string
	DelegatedTo string
	ForIdentity string
}

// Exists reports whether a secret exists (exists).
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
		return false, unexpected(wire.Exists, "no boolean")
	}
	return *result.Exists, nil
}

// Delete deletes a secret (delete_secret). delegatedTo is that of the secret, or "". If
// it does not exist, it is [ErrNotFound] if the room reports it, except after a
// reconnect: the first attempt may have deleted it.
func (s *Secrets) Delete(ctx context.Context, id, delegatedTo string) error {
	return doneBefore(s.ask(ctx, wire.DeleteSecret, wire.DeleteArguments{
		ID:          wire.Nullable(id),
		DelegatedTo: wire.Nullable(delegatedTo),
	}, nil))
}

// ask makes a repeatable call with JSON arguments. With a result it wants JSON content,
// without one an acknowledgement.
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

// unsupported is for operations that have no error for a secret that does not exist:
// their [ErrNotFound] is an operation that does not exist. Only delete_secret has both.
func unsupported(err error) error {
	if answer, ok := errors.AsType[*Error](err); ok && answer.Code == int(wire.NotFound) {
		return fmt.Errorf("%w: %s", ErrUnsupported, answer.Error()) // without ErrNotFound in its chain
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

// acknowledged accepts the contents that rooms acknowledge with.
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
