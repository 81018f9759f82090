package localroom

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
)

// A Recovery says what was saved of a damaged store.
type Recovery struct {
	Secrets int    // that were saved
	Lost    int    // secrets that were not
	Kept    string // name of the damaged store
	// Uncertain means that a meta page or the list of free pages is damaged: secrets that
	// were deleted or replaced may be back.
	Uncertain bool
}

// Recover writes a new store with every record of a damaged one that can be decrypted,
// and gives the damaged one the name Kept. It uses no part of the file except for the
// pages that have records: each record proves by itself that it is genuine.
func (r *Room) Recover() (found Recovery, err error) {
	err = r.exclusively(func(path string, f *os.File, seal *sealer) error {
		s := salvage{sealer: seal, file: f, infos: map[string]part{}, values: map[string][]part{}}
		if err := s.read(); err != nil {
			return fmt.Errorf("recover store %s: %w", path, err)
		}
		found = s.Recovery
		err := newFile(path, func(f *os.File) error {
			err := seal.build(s.sequence+1, s.fill)(f)
			found = s.Recovery
			return err
		}, func(from, to string) (err error) {
			if found.Kept, err = keep(path); err != nil {
				return err
			}
			return os.Rename(from, to)
		})
		if err != nil {
			return fmt.Errorf("recover store %s: %w", path, err)
		}
		return nil
	})
	return found, err
}

// A salvage reads every page of a file that may be in use.
type salvage struct {
	*sealer
	file *os.File
	Recovery

	totals   // the latest ones, if counted
	counted  bool
	sequence uint64 // the highest number of a change
	infos    map[string]part
	values   map[string][]part
}

// A part is one half of a record: where it is, and of an info its number.
type part struct {
	element element
	number  uint64
}

func (s *salvage) read() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	snap, torn, err := newest(s.file)
	if err != nil {
		snap = &snapshot{file: s.file, meta: meta{pageSize: uint32(os.Getpagesize()), pages: math.MaxUint64}}
		s.Uncertain = true
	}
	// Pages after those of the latest commit are of one that failed.
	snap.pages = min(snap.pages, uint64(info.Size())/uint64(snap.pageSize))
	free := make([]bool, snap.pages)
	if err == nil {
		err = snap.freePages(func(id uint64) error {
			if id < uint64(len(free)) {
				free[id] = true
			}
			return nil
		})
		if s.Uncertain = torn || err != nil; err != nil {
			clear(free)
		}
	}
	var wrong error
	for id := uint64(2); id < snap.pages; id++ {
		if free[id] {
			continue
		}
		if err := s.page(snap, id); errors.Is(err, ErrWrongKey) {
			wrong = err
		}
	}
	if len(s.infos) == 0 && !s.counted {
		if wrong != nil {
			return wrong
		}
		return fmt.Errorf("%w: it has no record of this room key", ErrDamaged)
	}
	return nil
}

// page reads the elements of a page, if it is a leaf. What is damaged is left out.
func (s *salvage) page(snap *snapshot, id uint64) error {
	p, err := snap.page(id)
	if err != nil {
		return err
	}
	return s.elements(p)
}

func (s *salvage) elements(p *page) error {
	if p.flags != leafFlag {
		return nil
	}
	var wrong error
	for i := range p.count {
		start := uint64(pageHeader + i*elementHeader)
		h, err := p.slice(start, elementHeader)
		if err != nil {
			return err
		}
		e, _, err := p.leaf(i, start+uint64(order.Uint32(h[4:])))
		if err == nil {
			err = s.element(e)
		}
		if errors.Is(err, ErrWrongKey) {
			wrong = err
		}
	}
	return wrong
}

// element sorts an element into infos, values and totals. Its key does not say which it
// is, but what it decrypts as does.
func (s *salvage) element(e element) error {
	box, err := e.read()
	if err != nil {
		return err
	}
	switch {
	case e.flags == bucketFlag && len(box) > bucketHeader:
		p, err := inline(box[bucketHeader:])
		if err != nil {
			return err
		}
		return s.elements(p)
	case bytes.Equal(e.key, keyCheck):
		return s.verifyCheckRecord(box)
	case bytes.Equal(e.key, keyTotals):
		s.latest(box)
		return nil
	}
	e.key = bytes.Clone(e.key)
	if e.page.file != nil {
		e.page = &page{file: e.page.file, at: e.page.at, size: e.page.size} // without its bytes
	}
	info, err := s.openInfo(e.key, box)
	if err != nil {
		s.values[string(e.key)] = append(s.values[string(e.key)], part{element: e})
		return nil
	}
	s.sequence = max(s.sequence, info.Updated)
	if known, ok := s.infos[string(e.key)]; !ok || known.number < info.Updated {
		s.infos[string(e.key)] = part{e, info.Updated}
	}
	return nil
}

// latest keeps the totals of the latest commit.
func (s *salvage) latest(box []byte) {
	if t, _, err := s.openTotals(box); err == nil && (!s.counted || t.sequence > s.totals.sequence) {
		s.counted, s.totals = true, t
		s.sequence = max(s.sequence, t.sequence)
	}
}

// fill puts the records that are whole.
func (s *salvage) fill(put func(key []byte, c boxes) error) error {
	for key, p := range s.infos {
		c, err := s.whole(key, p)
		if errors.Is(err, fs.ErrNotExist) {
			s.Lost++
			continue
		}
		if err == nil {
			err = put([]byte(key), c)
		}
		if err != nil {
			return err
		}
		s.Secrets++
	}
	for key := range s.values {
		if _, ok := s.infos[key]; !ok {
			s.Lost++
		}
	}
	if s.counted {
		s.Lost = max(0, int(s.records)-s.Secrets)
	}
	return nil
}

// whole returns the record of an info and the value that belongs to it.
func (s *salvage) whole(key string, p part) (c boxes, err error) {
	if c.info, err = p.element.read(); err != nil {
		return c, err
	}
	info, err := s.openInfo([]byte(key), c.info)
	if err != nil {
		return c, err
	}
	for _, v := range s.values[key] {
		if c.value, err = v.element.read(); err != nil {
			return c, err
		}
		if _, err := s.openValue(info, c.value); err == nil {
			return c, nil
		}
	}
	return c, fs.ErrNotExist
}
