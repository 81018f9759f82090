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
	bolt "go.etcd.io/bbolt"

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
	err := s.view(func(tx *bolt.Tx) (err error) {
		if info, err = s.find(tx.Bucket(bucketInfo), a, typ, name); err != nil {
			return err
		}
		key := s.seal.recordKey(info.RecordKey)
		plain, err := s.seal.open(kindValue, key, info.Updated, tx.Bucket(bucketValues).Get(key))
		if err != nil {
			return fmt.Errorf("value of %q: %w: %w", info.ID, ErrDamaged, err)
		}
		value = secret.New(plain)
		return nil
	})
	return info, value, err
}

// Exists reports whether the secret called a exists.
func (s *Store) Exists(a RecordKey) (bool, error) {
	err := s.view(func(tx *bolt.Tx) error {
		_, err := s.find(tx.Bucket(bucketInfo), a, "", "")
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
	err = s.view(func(tx *bolt.Tx) error {
		return s.scan(tx.Bucket(bucketInfo), s.seal.ownerPrefix(room, owner), nil, func(i Info) { list = append(list, i) })
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
	prefix, size, read := s.seal.part("room", room), 0, 0
	err = s.view(func(tx *bolt.Tx) error {
		infos := tx.Bucket(bucketInfo)
		c := infos.Cursor()
		key, box := c.Seek(prefix)
		if bytes.HasPrefix(mark, prefix) {
			if key, box = c.Seek(mark); bytes.Equal(key, mark) {
				key, box = c.Next()
			}
		}
		for ; bytes.HasPrefix(key, prefix); key, box = c.Next() {
			if size > pageBytes || read == pageRecords {
				next = base64.RawURLEncoding.EncodeToString(mark)
				return nil
			}
			info, err := s.openInfo(key, box)
			if err != nil {
				return err
			}
			if info.Owner == identity || info.DelegatedTo == identity {
				page = append(page, info)
				size += len(info.ID) + len(info.Type) + len(info.Name) + len(info.DelegatedTo) + len(info.Owner) + pageOverhead
			}
			mark = bytes.Clone(key)
			read++
		}
		return nil
	})
	return page, next, err
}

// Delegated returns the keys of the secrets called id that any identity in room
// delegated to delegatee.
func (s *Store) Delegated(room, delegatee, id string) (found []RecordKey, err error) {
	prefix, suffix := s.seal.part("room", room), s.seal.suffix(RecordKey{Room: room, DelegatedTo: delegatee, ID: id})
	err = s.view(func(tx *bolt.Tx) error {
		return s.scan(tx.Bucket(bucketInfo), prefix, suffix, func(i Info) { found = append(found, i.RecordKey) })
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
		info, err := s.find(b.info, a, fitType, fitName)
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
		if info.Updated == 0 {
			b.records++
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
		info, err := s.find(b.info, a, "", "")
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
		info, err := b.find(b.info, old.RecordKey, "", "")
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
	b.records--
	b.sequence++
	info.Updated = b.sequence
	key := b.seal.recordKey(info.RecordKey)
	b.count(info, 0)
	if err := errors.Join(b.info.Delete(key), b.values.Delete(key)); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	b.events = append(b.events, changeEvent{info, true})
	return nil
}

func (b *batch) put(info Info, value secret.Value) error {
	key := b.seal.recordKey(info.RecordKey)
	plain, err := json.Marshal(info)
	if err != nil {
		return err
	}
	box := b.seal.seal(kindValue, key, info.Updated, value.Reveal())
	b.count(info, cost(len(box)))
	if err := errors.Join(
		b.info.Put(key, b.seal.seal(kindInfo, key, 0, plain)),
		b.values.Put(key, box),
	); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}

// find returns the description of the secret that [Store.Get] returns.
func (s *Store) find(infos *bolt.Bucket, k RecordKey, typ, name string) (found Info, err error) {
	fits := func(i Info) bool {
		return (typ == "" || typ == i.Type) && (name == "" || name == i.Name)
	}
	switch {
	case k.ID != "":
		key := s.seal.recordKey(k)
		if box := infos.Get(key); box != nil {
			found, err = s.openInfo(key, box)
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

// scan calls f with the secrets whose keys have prefix and suffix.
func (s *Store) scan(infos *bolt.Bucket, prefix, suffix []byte, f func(Info)) error {
	c := infos.Cursor()
	for key, box := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, box = c.Next() {
		if !bytes.HasSuffix(key, suffix) {
			continue
		}
		info, err := s.openInfo(key, box)
		if err != nil {
			return err
		}
		f(info)
	}
	return nil
}

func (s *Store) openInfo(key, box []byte) (Info, error) {
	plain, err := s.seal.open(kindInfo, key, 0, box)
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
