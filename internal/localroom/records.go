package localroom

import (
	"bytes"
	"cmp"
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

// A RecordKey names one secret (docs/room-api.md section 7.2). DelegatedTo is
// a part of it, "" for none.
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

	// Updated counts the changes of the store: the higher, the later.
	Updated uint64 `json:"updated"`
}

// DefaultType is the type of a secret that was set with none.
const DefaultType = "application/octet-stream"

// Get returns the secret at a, if it is of the given type and name, "" being
// any. With no a.ID it returns the one that was updated last of those that
// fit. The error is [ErrNotFound] when there is none.
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
			return fmt.Errorf("the value of %q: %w: %w", info.ID, ErrDamaged, err)
		}
		value = secret.New(plain)
		return nil
	})
	return info, value, err
}

// Exists reports whether there is a secret at a.
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

// List describes all secrets of owner in room, those delegated to others too,
// ordered by name and then id.
func (s *Store) List(room, owner string) ([]Info, error) {
	var list []Info
	err := s.view(func(tx *bolt.Tx) error {
		return s.scan(tx.Bucket(bucketInfo), room, owner, func(i Info) { list = append(list, i) })
	})
	slices.SortFunc(list, func(a, b Info) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		if c := strings.Compare(a.ID, b.ID); c != 0 {
			return c
		}
		return strings.Compare(a.DelegatedTo, b.DelegatedTo)
	})
	return list, err
}

// Delegated returns the addresses of the secrets called id that anybody in
// room delegated to delegatee.
func (s *Store) Delegated(room, delegatee, id string) ([]RecordKey, error) {
	prefix, suffix := s.seal.part("room", room), s.seal.suffix(RecordKey{Room: room, DelegatedTo: delegatee, ID: id})
	var found []RecordKey
	err := s.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketInfo).Cursor()
		for key, box := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, box = c.Next() {
			if !bytes.HasSuffix(key, suffix) {
				continue
			}
			info, err := s.openInfo(key, box)
			if err != nil {
				return err
			}
			found = append(found, info.RecordKey)
		}
		return nil
	})
	return found, err
}

// Set writes a secret over the one at a, or makes it. With no a.ID it writes
// over the one of that owner, delegatee, type and name that was updated last,
// or makes one with a random id. A type or name of "" stays as it is, or is
// [DefaultType] and the id.
func (s *Store) Set(a RecordKey, typ, name string, value secret.Value) error {
	if err := checkNames(a, typ, name); err != nil {
		return err
	}
	if value.Len() > maxValue {
		return fmt.Errorf("%w: a value has at most %d bytes", ErrInvalid, maxValue)
	}
	return s.update(value.Len(), func(b *batch) error {
		var info Info
		var err error
		if a.ID != "" {
			info, err = s.find(b.info, a, "", "")
		} else {
			info, err = s.find(b.info, a, typ, name)
		}
		if errors.Is(err, ErrNotFound) {
			info = Info{RecordKey: a}
			info.ID = cmp.Or(a.ID, uuid.NewString())
			info.Type, info.Name = DefaultType, info.ID
			b.records++
		} else if err != nil {
			return err
		}
		info.Type, info.Name = cmp.Or(typ, info.Type), cmp.Or(name, info.Name)
		return b.change(&info, value)
	})
}

const (
	// maxName is the longest part of an address, type or name, in bytes.
	maxName = 1024
	// maxValue leaves room in a message for what else is in there.
	maxValue = wire.DefaultMaxMessage - 64<<10
)

// checkNames fails where [Store.Set] would, whatever the value.
func checkNames(a RecordKey, typ, name string) error {
	for _, part := range []string{a.Room, a.Owner, a.DelegatedTo, a.ID, typ, name} {
		if len(part) > maxName || !utf8.ValidString(part) {
			return fmt.Errorf("%w: ids, types, names and URLs are UTF-8 of at most %d bytes", ErrInvalid, maxName)
		}
	}
	return nil
}

// Delete removes the secret at a. The error is [ErrNotFound] when there is
// none.
func (s *Store) Delete(a RecordKey) error {
	return s.update(0, func(b *batch) error {
		info, err := s.find(b.info, a, "", "")
		if err != nil {
			return err
		}
		return b.delete(info)
	})
}

// errChanged: a secret is not what was read before.
var errChanged = errors.New("the secret was changed meanwhile")

// replace writes value over the secret that info describes, and returns what
// describes it from then on. The error is errChanged when somebody has written
// or deleted it since.
func (s *Store) replace(info Info, value secret.Value) (Info, error) {
	err := s.update(value.Len(), func(b *batch) error {
		if err := b.unchanged(info); err != nil {
			return err
		}
		return b.change(&info, value)
	})
	return info, err
}

// rewrite writes value, which is what info describes, once more, with errors
// as replace has them. It is no change, and tells that the store takes one.
func (s *Store) rewrite(info Info, value secret.Value) error {
	return s.update(value.Len(), func(b *batch) error {
		if err := b.unchanged(info); err != nil {
			return err
		}
		return b.put(info, value)
	})
}

// remove deletes the secret that old describes, with errors as replace has
// them.
func (s *Store) remove(old Info) error {
	return s.update(0, func(b *batch) error {
		if err := b.unchanged(old); err != nil {
			return err
		}
		return b.delete(old)
	})
}

func (b *batch) unchanged(old Info) error {
	info, err := b.find(b.info, old.RecordKey, "", "")
	if errors.Is(err, ErrNotFound) || err == nil && info.Updated != old.Updated {
		return errChanged
	}
	return err
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
	if err := errors.Join(
		b.info.Put(key, b.seal.seal(kindInfo, key, 0, plain)),
		b.values.Put(key, b.seal.seal(kindValue, key, info.Updated, value.Reveal())),
	); err != nil {
		return fmt.Errorf("%w: %w", errWrite, err)
	}
	return nil
}

// find returns what [Store.Get] describes.
func (s *Store) find(infos *bolt.Bucket, a RecordKey, typ, name string) (Info, error) {
	if a.ID == "" && typ == "" && name == "" {
		return Info{}, fmt.Errorf("%w: neither an id nor a type or a name is given", ErrInvalid)
	}
	fits := func(i Info) bool {
		return (typ == "" || typ == i.Type) && (name == "" || name == i.Name)
	}
	if a.ID != "" {
		key := s.seal.recordKey(a)
		box := infos.Get(key)
		if box == nil {
			return Info{}, ErrNotFound
		}
		if info, err := s.openInfo(key, box); err != nil || fits(info) {
			return info, err
		}
		return Info{}, ErrNotFound
	}
	var latest Info
	err := s.scan(infos, a.Room, a.Owner, func(i Info) {
		if i.DelegatedTo == a.DelegatedTo && fits(i) && i.Updated > latest.Updated {
			latest = i
		}
	})
	if err == nil && latest.Updated == 0 {
		err = ErrNotFound
	}
	return latest, err
}

func (s *Store) scan(infos *bolt.Bucket, room, owner string, f func(Info)) error {
	prefix, c := s.seal.ownerPrefix(room, owner), infos.Cursor()
	for key, box := c.Seek(prefix); bytes.HasPrefix(key, prefix); key, box = c.Next() {
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
	if err != nil || !bytes.Equal(s.seal.recordKey(info.RecordKey), key) {
		return Info{}, fmt.Errorf("%w: a record is not what its address says", ErrDamaged)
	}
	return info, nil
}

func decodeInfo(plain []byte) (Info, error) {
	var info Info
	err := json.Unmarshal(plain, &info)
	if err == nil && (info.ID == "" || info.Updated == 0) {
		err = errors.New("a record has no id")
	}
	return info, err
}
