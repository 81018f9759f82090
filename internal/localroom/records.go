package localroom

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// A RecordKey names one secret (docs/room-api.md section 7.2). DelegatedTo may be "".
type RecordKey struct {
	Room        string `json:"room"`
	Owner       string `json:"owner"`
	DelegatedTo string `json:"delegated_to,omitempty"`
	ID          string `json:"id"`
}

// Info describes a secret without its value.
type Info struct {
	RecordKey
	Type string `json:"type"` // a media type
	Name string `json:"name"`

	// Updated is the number of the change of the store that wrote it.
	Updated uint64 `json:"updated"`
}

// DefaultType is the type of a secret that is set without a type.
const DefaultType = "application/octet-stream"

// Get returns the secret called a if it has the given type and name; "" matches any.
// Without a.ID it returns the matching secret that was updated last. The error wraps
// [ErrNotFound].
func (s *Store) Get(a RecordKey, typ, name string) (Info, secret.Value, error) {
	var info Info
	var value secret.Value
	err := s.view(func(c *content) (err error) {
		if info, err = s.find(c, a, typ, name); err != nil {
			return err
		}
		box, err := c.value(s.seal.recordKey(info.RecordKey))
		if err != nil {
			return err
		}
		value, err = s.seal.openValue(info, box)
		return err
	})
	return info, value, err
}

// Exists reports whether the secret called a exists.
func (s *Store) Exists(a RecordKey) (bool, error) {
	err := s.view(func(c *content) error {
		_, err := s.find(c, a, "", "")
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// List describes all secrets of owner in room, with those that are delegated to other
// identities, by name and then id.
func (s *Store) List(room, owner string) (list []Info, err error) {
	err = s.view(func(c *content) error {
		list = nil
		return s.scan(c, s.seal.ownerPrefix(room, owner), nil, func(i Info) { list = append(list, i) })
	})
	slices.SortFunc(list, func(a, b Info) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID), strings.Compare(a.DelegatedTo, b.DelegatedTo))
	})
	return list, err
}

const (
	// pageBytes bounds the names of a page, which escaped are six times as long, in a
	// message.
	pageBytes = wire.MaxHeader / 8
	// pageRecords bounds how many records are read for a page.
	pageRecords = 10_000
	// pageOverhead is what a secret has in a message beside its names, over six.
	pageOverhead = 20
)

// Page describes secrets of identity in room and those that others delegated to it, in
// the order of the store, which does not change. A page begins after the mark next of the
// previous page, "" for the first; it may be empty, and is the last if next is "".
func (s *Store) Page(room, identity, after string) (page []Info, next string, err error) {
	mark, err := base64.RawURLEncoding.DecodeString(after)
	if err != nil {
		return nil, "", fmt.Errorf("%w: not a mark of a page", ErrInvalid)
	}
	prefix := s.seal.part("room", room)
	if !bytes.HasPrefix(mark, prefix) {
		mark = nil
	}
	err = s.view(func(c *content) error {
		page, next = nil, ""
		last, size, read := mark, 0, 0
		err := c.infosFrom(prefix, mark, func(key, box []byte) error {
			if bytes.Equal(key, mark) {
				return nil
			}
			if size > pageBytes || read == pageRecords {
				next = base64.RawURLEncoding.EncodeToString(last)
				return errEnd
			}
			info, err := s.seal.openInfo(key, box)
			if err != nil {
				return err
			}
			if info.Owner == identity || info.DelegatedTo == identity {
				page = append(page, info)
				size += len(info.ID) + len(info.Type) + len(info.Name) + len(info.DelegatedTo) + len(info.Owner) + pageOverhead
			}
			last = bytes.Clone(key)
			read++
			return nil
		})
		if errors.Is(err, errEnd) {
			err = nil
		}
		return err
	})
	return page, next, err
}

// errEnd ends a scan.
var errEnd = errors.New("end of the page")

// Delegated returns the keys of the secrets called id that any identity in room
// delegated to delegatee.
func (s *Store) Delegated(room, delegatee, id string) (found []RecordKey, err error) {
	prefix, suffix := s.seal.part("room", room), s.seal.suffix(RecordKey{Room: room, DelegatedTo: delegatee, ID: id})
	err = s.view(func(c *content) error {
		found = nil
		return s.scan(c, prefix, suffix, func(i Info) { found = append(found, i.RecordKey) })
	})
	return found, err
}

// Set creates or replaces the secret called a. Without a.ID it replaces the secret of
// that owner, delegatee, type and name that was updated last, or creates one with a
// random id. A type or name of "" is unchanged, or is [DefaultType] and the id.
func (s *Store) Set(a RecordKey, typ, name string, value secret.Value) error {
	return s.setWithin(0, a, typ, name, value)
}

// set is Set if permit permits it.
func (s *Store) set(a RecordKey, typ, name string, value secret.Value, permit func(*batch, Info) error) error {
	if err := checkNames(a, typ, name); err != nil {
		return err
	}
	if value.Len() > maxValue {
		return fmt.Errorf("%w: value is longer than %d bytes", ErrInvalid, maxValue)
	}
	return s.update(value.Len(), func(b *batch) error {
		fitType, fitName := typ, name
		if a.ID != "" {
			fitType, fitName = "", ""
		}
		info, err := s.find(b, a, fitType, fitName)
		if errors.Is(err, ErrNotFound) {
			info = Info{RecordKey: a}
			info.ID = cmp.Or(a.ID, uuid.NewString())
			info.Type, info.Name = DefaultType, info.ID
		} else if err != nil {
			return err
		}
		if err := permit(b, info); err != nil {
			return err
		}
		info.Type, info.Name = cmp.Or(typ, info.Type), cmp.Or(name, info.Name)
		return b.change(&info, value)
	})
}

const (
	// maxName bounds the parts of a key, types and names, in bytes.
	maxName = 1024
	// maxValue leaves room in a message for its headers.
	maxValue = wire.DefaultMaxMessage - 64<<10
)

// checkNames fails where [Store.Set] would, whatever the value.
func checkNames(a RecordKey, typ, name string) error {
	for _, part := range []string{a.Room, a.Owner, a.DelegatedTo, a.ID, typ, name} {
		if len(part) > maxName || !utf8.ValidString(part) {
			return fmt.Errorf("%w: want ids, types, names and URLs in UTF-8 of at most %d bytes", ErrInvalid, maxName)
		}
	}
	return nil
}

// Delete deletes the secret called a. The error wraps [ErrNotFound].
func (s *Store) Delete(a RecordKey) error {
	return s.update(0, func(b *batch) error {
		info, err := s.find(b, a, "", "")
		if err != nil {
			return err
		}
		return b.delete(info)
	})
}

// errChanged means that the secret was written or deleted since it was read.
var errChanged = errors.New("secret has changed")

// updateSame is update if the secret is still the one that old describes, and fails
// with errChanged if not.
func (s *Store) updateSame(old Info, size int, apply func(*batch) error) error {
	return s.update(size, func(b *batch) error {
		info, err := b.find(b, old.RecordKey, "", "")
		if errors.Is(err, ErrNotFound) || err == nil && info.Updated != old.Updated {
			return errChanged
		} else if err != nil {
			return err
		}
		return apply(b)
	})
}

// replace changes the value of the secret that info describes, and returns its new
// description.
func (s *Store) replace(info Info, value secret.Value) (Info, error) {
	err := s.updateSame(info, value.Len(), func(b *batch) error { return b.change(&info, value) })
	return info, err
}

// rewrite writes the unchanged value of a secret, to find out whether the store
// accepts writes.
func (s *Store) rewrite(info Info, value secret.Value) error {
	return s.updateSame(info, value.Len(), func(b *batch) error { return b.put(info, value) })
}

// remove deletes a secret.
func (s *Store) remove(old Info) error {
	return s.updateSame(old, 0, func(b *batch) error { return b.delete(old) })
}

// change writes value under a new info.Updated.
func (b *batch) change(info *Info, value secret.Value) error {
	b.sequence++
	info.Updated = b.sequence
	if err := b.put(*info, value); err != nil {
		return err
	}
	b.events = append(b.events, changeEvent{Info: *info})
	return nil
}

func (b *batch) delete(info Info) error {
	b.sequence++
	info.Updated = b.sequence
	key := b.seal.recordKey(info.RecordKey)
	b.count(info, key, 0)
	b.changed[string(key)] = boxes{}
	b.events = append(b.events, changeEvent{info, true})
	return nil
}

func (b *batch) put(info Info, value secret.Value) error {
	key := b.seal.recordKey(info.RecordKey)
	sealed, err := b.seal.sealRecord(key, info, value)
	if err == nil {
		b.count(info, key, cost(len(sealed.value)))
		b.changed[string(key)] = sealed
	}
	return err
}

// find returns the description of the secret that [Store.Get] returns.
func (s *Store) find(infos infos, k RecordKey, typ, name string) (found Info, err error) {
	fits := func(i Info) bool {
		return (typ == "" || typ == i.Type) && (name == "" || name == i.Name)
	}
	switch {
	case k.ID != "":
		key := s.seal.recordKey(k)
		var box []byte
		if box, err = infos.infoOf(key); box != nil {
			found, err = s.seal.openInfo(key, box)
		}
		if !fits(found) {
			found = Info{}
		}
	case typ != "" || name != "":
		err = s.scan(infos, s.seal.ownerPrefix(k.Room, k.Owner), nil, func(i Info) {
			if i.DelegatedTo == k.DelegatedTo && fits(i) && i.Updated > found.Updated {
				found = i
			}
		})
	default:
		err = fmt.Errorf("%w: missing id, type or name", ErrInvalid)
	}
	if err == nil && found.Updated == 0 {
		err = ErrNotFound
	}
	return found, err
}

// infos is where descriptions are, sealed: a commit, or one to be.
type infos interface {
	infoOf(key []byte) (box []byte, err error) // nil if there is no such secret
	infos(prefix []byte, f func(key, box []byte) error) error
}

// scan calls f with the secrets whose keys have prefix and suffix.
func (s *Store) scan(infos infos, prefix, suffix []byte, f func(Info)) error {
	return infos.infos(prefix, func(key, box []byte) error {
		if !bytes.HasSuffix(key, suffix) {
			return nil
		}
		info, err := s.seal.openInfo(key, box)
		if err == nil {
			f(info)
		}
		return err
	})
}

// boxes is a sealed record. Without boxes it is a deleted one.
type boxes struct{ info, value []byte }

func (s *sealer) sealRecord(key []byte, info Info, value secret.Value) (boxes, error) {
	plain, err := json.Marshal(info)
	return boxes{s.seal(kindInfo, key, 0, plain), s.seal(kindValue, key, info.Updated, value.Reveal())}, err
}

func (s *sealer) openInfo(key, box []byte) (Info, error) {
	plain, err := s.open(kindInfo, key, 0, box)
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	info, err := decodeInfo(plain)
	if err != nil {
		return Info{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return info, nil
}

func decodeInfo(plain []byte) (info Info, err error) {
	if json.Unmarshal(plain, &info) != nil || info.ID == "" || info.Updated == 0 {
		return Info{}, errors.New("invalid record")
	}
	return info, nil
}

func (s *sealer) openValue(info Info, box []byte) (secret.Value, error) {
	plain, err := s.open(kindValue, s.recordKey(info.RecordKey), info.Updated, box)
	if err != nil {
		return secret.Value{}, fmt.Errorf("value of %q: %w: %w", info.ID, ErrDamaged, err)
	}
	return secret.New(plain), nil
}
