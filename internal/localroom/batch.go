package localroom

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// A batch has the changes of one commit, and what the previous one has.
type batch struct {
	*Store
	before *content
	totals
	id      uint64           // of the transaction
	changed map[string]boxes // by key of the database
	events  []changeEvent
}

// begin reads what is in the file, not what this process believes to have written: a
// commit that failed may have reached it.
func (s *Store) begin(tx *bolt.Tx) (*batch, error) {
	snap, _, err := newest(s.file)
	if err != nil {
		return nil, err
	}
	b := &batch{Store: s, id: uint64(tx.ID()), changed: map[string]boxes{}}
	if snap.transaction+1 != b.id {
		return nil, fmt.Errorf("%w: another program writes to the file", ErrDamaged)
	}
	if b.before, err = s.read(snap); err != nil {
		return nil, err
	}
	if b.totals, _, err = b.before.totals(); err != nil {
		return nil, err
	}
	return b, nil
}

func (b *batch) infoOf(key []byte) ([]byte, error) {
	if c, ok := b.changed[string(key)]; ok {
		return c.info, nil
	}
	return b.before.infoOf(key)
}

func (b *batch) infos(prefix []byte, f func(key, box []byte) error) error {
	err := b.before.infos(prefix, func(key, box []byte) error {
		if _, ok := b.changed[string(key)]; ok {
			return nil
		}
		return f(key, box)
	})
	for _, key := range b.keys() {
		if c := b.changed[key]; err == nil && c.info != nil && strings.HasPrefix(key, string(prefix)) {
			err = f([]byte(key), c.info)
		}
	}
	return err
}

func (b *batch) keys() []string { return slices.Sorted(maps.Keys(b.changed)) }

// write writes the changes and the totals. What was there before is read first, which
// checks the pages that bbolt is about to replace.
func (b *batch) write(tx *bolt.Tx) error {
	infos, values := tx.Bucket(bucketInfo), tx.Bucket(bucketValues)
	for _, k := range b.keys() {
		key, c := []byte(k), b.changed[k]
		info, err := b.before.endsOf(b.before.info, key)
		if err != nil {
			return err
		}
		value, err := b.before.endsOf(b.before.values, key)
		if err != nil {
			return err
		}
		if (info == nil) != (value == nil) {
			return fmt.Errorf("%w: records and values do not match", ErrDamaged)
		}
		if info != nil {
			b.records--
			b.toggle(key, info, value)
		}
		if c.info != nil {
			b.records++
			b.toggle(key, ends(c.info), ends(c.value))
			err = put(key, c, infos, values)
		} else {
			err = remove(key, infos, values)
		}
		if err != nil {
			return err
		}
	}
	return b.seal.writeTotals(tx, b.totals)
}

// toggle adds a record to the sum, or takes it away.
func (b *batch) toggle(key, info, value []byte) {
	b.seal.toggle(&b.sum, kindInfo, key, info)
	b.seal.toggle(&b.sum, kindValue, key, value)
}

func put(key []byte, c boxes, infos, values *bolt.Bucket) error {
	if err := infos.Put(key, c.info); err != nil {
		return err
	}
	return values.Put(key, c.value)
}

func remove(key []byte, infos, values *bolt.Bucket) error {
	if err := infos.Delete(key); err != nil {
		return err
	}
	return values.Delete(key)
}
