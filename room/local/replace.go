package local

import (
	"errors"
	"fmt"

	"github.com/roomenv/roomenv/secret"
)

// errChanged: a secret is not what was read before.
var errChanged = errors.New("the secret was changed meanwhile")

// replace writes value over the secret that old describes. The error is
// errChanged when somebody has written or deleted it since.
func (s *Store) replace(old Info, value secret.Value) error {
	return s.update(value.Len(), func(b *batch) error {
		info, err := b.unchanged(old)
		if err != nil {
			return err
		}
		b.sequence++
		info.Updated = b.sequence
		return b.put(info, value)
	})
}

// remove deletes the secret that old describes, with errors as replace has
// them.
func (s *Store) remove(old Info) error {
	return s.update(0, func(b *batch) error {
		if _, err := b.unchanged(old); err != nil {
			return err
		}
		b.records--
		key := b.seal.recordKey(old.Address)
		if err := errors.Join(b.info.Delete(key), b.values.Delete(key)); err != nil {
			return fmt.Errorf("%w: %w", errWrite, err)
		}
		return nil
	})
}

func (b *batch) unchanged(old Info) (Info, error) {
	info, err := b.find(b.info, old.Address, "", "")
	if errors.Is(err, ErrNotFound) || err == nil && info.Updated != old.Updated {
		return Info{}, errChanged
	}
	return info, err
}
