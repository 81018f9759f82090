package localroom

import (
	"encoding/binary"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

var (
	bucketStore  = []byte("store")
	bucketInfo   = []byte("info")
	bucketValues = []byte("values")

	keyCheck  = []byte("check")
	keyTotals = []byte("totals")
)

// content is what a snapshot has in it, sealed.
type content struct {
	*sealer
	snapshot            *snapshot
	store, info, values tree

	// unsure makes it read what is beside a record too: a damaged key may be that of
	// the one which is looked for.
	unsure bool
}

// read returns the content of a snapshot that has the format and key of s.
func (s *sealer) read(snap *snapshot) (*content, error) {
	c := &content{sealer: s, snapshot: snap}
	trees := map[string]*tree{string(bucketStore): &c.store, string(bucketInfo): &c.info, string(bucketValues): &c.values}
	err := snap.buckets(nil, func(name []byte, t tree) error {
		if known := trees[string(name)]; known != nil {
			*known = t
			delete(trees, string(name))
		}
		return nil
	})
	for name := range trees {
		err = errors.Join(err, fmt.Errorf("%w: missing bucket %s", ErrDamaged, name))
	}
	return c, err
}

// infoOf returns the box with the description of a secret, or nil.
func (c *content) infoOf(key []byte) (found []byte, err error) {
	err = c.infos(key, func(_, box []byte) error {
		found = box
		return nil
	})
	return found, err
}

// infos calls f with the descriptions of the secrets whose keys start with prefix.
func (c *content) infos(prefix []byte, f func(key, box []byte) error) error {
	return c.infosFrom(prefix, nil, f)
}

// infosFrom begins at the key from.
func (c *content) infosFrom(prefix, from []byte, f func(key, box []byte) error) error {
	v := visitor{prefix: prefix, from: from, match: func(e element) error {
		box, err := e.read()
		if err != nil {
			return err
		}
		return f(e.key, box)
	}}
	if c.unsure {
		v.other = func(e element) error {
			box, err := e.read()
			if err == nil {
				_, err = c.openInfo(e.key, box)
			}
			return err
		}
	}
	return c.snapshot.visit(c.info, nil, nil, maxDepth, v)
}

func (c *content) value(key []byte) ([]byte, error) { return c.snapshot.get(c.values, key) }

// endsOf returns the ends of the box under key in t, or nil.
func (c *content) endsOf(t tree, key []byte) (b []byte, err error) {
	err = c.snapshot.scan(t, key, func(e element) error {
		b, err = e.ends(boxHead, boxTail)
		return err
	})
	return b, err
}

// checkKey fails with [ErrWrongKey], or if the store is of a newer format.
func (c *content) checkKey() error {
	record, err := c.snapshot.get(c.store, keyCheck)
	if err != nil {
		return err
	}
	return c.verifyCheckRecord(record)
}

// totals are part of every commit, so that records which are lost, added or replaced by
// older ones are noticed.
type totals struct {
	records  uint64
	sequence uint64 // of the latest change
	sum      sum    // of the boxes of all records
}

const (
	totalsSize1 = 16 // without sum, in format 1
	totalsSize  = totalsSize1 + len(sum{})
)

// totals returns what the content should have, in format 1 without the sum.
func (c *content) totals() (t totals, old bool, err error) {
	box, err := c.snapshot.get(c.store, keyTotals)
	if err != nil {
		return t, false, err
	}
	return c.openTotals(box)
}

func (s *sealer) openTotals(box []byte) (t totals, old bool, err error) {
	b, err := s.open(kindTotals, nil, 0, box)
	if err != nil || len(b) != totalsSize && len(b) != totalsSize1 {
		return t, false, fmt.Errorf("%w: invalid totals", ErrDamaged)
	}
	t.records, t.sequence = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	copy(t.sum[:], b[totalsSize1:])
	return t, len(b) == totalsSize1, nil
}

func (s *sealer) writeTotals(tx *bolt.Tx, t totals) error {
	b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, t.records), t.sequence)
	return tx.Bucket(bucketStore).Put(keyTotals, s.seal(kindTotals, nil, 0, append(b, t.sum[:]...)))
}

// count visits every page and returns what the totals should be.
func (c *content) count() (found totals, err error) {
	var values uint64
	err = c.snapshot.checkPages(func(bucket []byte, e element) error {
		var k kind
		switch string(bucket) {
		case string(bucketInfo):
			k = kindInfo
			found.records++
		case string(bucketValues):
			k = kindValue
			values++
		default:
			return nil
		}
		b, err := e.ends(boxHead, boxTail)
		if err == nil {
			c.toggle(&found.sum, k, e.key, b)
		}
		return err
	})
	if err == nil && found.records != values {
		err = fmt.Errorf("%w: found %d values of %d records", ErrDamaged, values, found.records)
	}
	return found, err
}

// differs says how what was found differs from what should be there, although every
// page is in order.
func (t totals) differs(found totals) error {
	switch {
	case found.records < t.records:
		return fmt.Errorf("%w: found %d of %d", ErrAltered, found.records, t.records)
	case found.records > t.records:
		return fmt.Errorf("%w: found %d instead of %d", ErrAltered, found.records, t.records)
	case found.sum != t.sum:
		return fmt.Errorf("%w: at least one of %d is a different one, such as that of an older copy", ErrAltered, t.records)
	}
	return nil
}
