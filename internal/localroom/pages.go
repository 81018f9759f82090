package localroom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// The page format of bbolt: internal/common of go.etcd.io/bbolt. Numbers are
// in the byte order of the machine.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader    = 16 // id 8, flags 2, count 2, overflow 4
	elementHeader = 16 // leaf: flags 4, position 4, key 4, value 4; branch: position 4, key 4, page 8
	bucketHeader  = 16 // root page 8, sequence 8
	metaSize      = 64 // magic, version, page size, flags: 4 each; root 8, sequence 8, free list 8, pages 8, transaction 8, checksum 8

	branchFlag = 0x01
	leafFlag   = 0x02
	freeFlag   = 0x10
	bucketFlag = 0x01 // of an element

	minPageSize = 1 << 10
	maxPageSize = 1 << 24
	maxDepth    = 40 // of a tree, in which each page leads to at least two
)

var order = binary.NativeEndian

// A snapshot is one commit of a file, which it reads without bbolt. bbolt trusts its
// file: a changed byte can make it loop, overflow its stack or overwrite a page that is
// in use, and its Tx.Check has the same faults. A snapshot takes nothing for granted
// that it has not checked: each page on the way to a record has to exist, to be of the
// right kind, to be in order and to have the keys that its parent says, and all that a
// page lists has to be inside it.
type snapshot struct {
	file io.ReaderAt
	meta
	used []bool // by page, if walks mark what they visit; none may be visited twice
}

// A visitor is called with the elements whose keys start with prefix, in their order.
type visitor struct {
	prefix []byte
	from   []byte // the first key to be visited
	match  func(element) error
	other  func(element) error // beside those that match, in the same leaves; nil for none
}

type meta struct {
	pageSize                           uint32
	root, freeList, pages, transaction uint64
	at                                 int64 // place in the file: bbolt writes two in turn
}

// readMeta reports whether an intact meta page is at a place of a file.
func readMeta(file io.ReaderAt, at int64) (m meta, intact bool) {
	var b [metaSize]byte
	if _, err := file.ReadAt(b[:], at+pageHeader); err != nil {
		return meta{}, false
	}
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	m = meta{order.Uint32(b[8:]), order.Uint64(b[16:]), order.Uint64(b[32:]), order.Uint64(b[40:]), order.Uint64(b[48:]), at}
	return m, order.Uint32(b[:]) == boltMagic && order.Uint32(b[4:]) == boltVersion && order.Uint64(b[56:]) == sum.Sum64() && (at == 0 || at == int64(m.pageSize))
}

// newest returns the latest commit, and whether the other meta page is damaged, which a
// power cut in the middle of a commit may leave.
func newest(file *os.File) (s *snapshot, torn bool, err error) {
	info, err := file.Stat()
	if err != nil {
		return nil, false, err
	}
	return newestOf(file, info.Size())
}

func newestOf(file io.ReaderAt, length int64) (s *snapshot, torn bool, err error) {
	var m meta
	intact := 0
	// The second one is at the size of a page, which is a power of two.
	for at, last := int64(0), int64(maxPageSize); at <= last && at < length; at = max(2*at, minPageSize) {
		found, ok := readMeta(file, at)
		if !ok {
			continue
		}
		if intact++; intact == 1 || found.transaction > m.transaction {
			m = found
		}
		if at == 0 {
			at, last = int64(found.pageSize)/2, int64(found.pageSize)
		}
	}
	switch size := m.pageSize; {
	case size < minPageSize || size > maxPageSize || m.pages < 4:
		return nil, false, fmt.Errorf("%w: both meta pages are damaged", ErrDamaged)
	case m.pages > uint64(length)/uint64(size):
		return nil, false, fmt.Errorf("%w: found %d of %d pages", ErrDamaged, length/int64(size), m.pages)
	}
	return &snapshot{file: file, meta: m}, intact < 2, nil
}

// A page is a part of a file: a page with its overflow pages, or one that is inside the
// element of a bucket.
type page struct {
	file  io.ReaderAt
	at    int64
	size  int
	head  []byte // its first bytes
	flags uint16
	count int
}

// page reads the first page of a run.
func (s *snapshot) page(id uint64) (*page, error) {
	if id < 2 || id >= s.pages {
		return nil, fmt.Errorf("%w: page %d does not exist", ErrDamaged, id)
	}
	p := &page{file: s.file, at: int64(id) * int64(s.pageSize), head: make([]byte, s.pageSize)}
	if err := readAt(p.file, p.head, p.at); err != nil {
		return nil, err
	}
	run := uint64(order.Uint32(p.head[12:])) + 1
	if order.Uint64(p.head) != id || run > s.pages-id {
		return nil, fmt.Errorf("%w: page %d has an invalid header", ErrDamaged, id)
	}
	p.size = int(run) * int(s.pageSize)
	for i := id; s.used != nil && i < id+run; i++ {
		if s.used[i] {
			return nil, fmt.Errorf("%w: page %d is used twice", ErrDamaged, i)
		}
		s.used[i] = true
	}
	return p, p.parse()
}

// inline returns the page that is inside the element of a small bucket.
func inline(element []byte) (*page, error) {
	p := &page{head: element, size: len(element)}
	return p, p.parse()
}

func (p *page) parse() error {
	if len(p.head) < pageHeader {
		return fmt.Errorf("%w: page is too short", ErrDamaged)
	}
	p.flags, p.count = order.Uint16(p.head[8:]), int(order.Uint16(p.head[10:]))
	return nil
}

// readAt fails with [ErrDamaged] if the file ends before b does.
func readAt(file io.ReaderAt, b []byte, at int64) error {
	_, err := file.ReadAt(b, at)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the file was truncated", ErrDamaged)
	}
	return err
}

// slice returns bytes of the page, wherever they are in it.
func (p *page) slice(from, size uint64) ([]byte, error) {
	if from > uint64(p.size) || size > uint64(p.size)-from {
		return nil, fmt.Errorf("%w: element is outside its page", ErrDamaged)
	}
	if end := from + size; end <= uint64(len(p.head)) {
		return p.head[from:end], nil
	}
	b := make([]byte, size)
	return b, readAt(p.file, b, p.at+int64(from))
}

// An element of a leaf is a record or a bucket.
type element struct {
	page        *page
	key         []byte
	value, size uint64 // place in the page
	flags       uint32
}

func (e element) read() ([]byte, error) { return e.page.slice(e.value, e.size) }

// ends returns the first and the last bytes of the value.
func (e element) ends(first, last uint64) (b []byte, err error) {
	if e.size < first+last {
		return e.read()
	}
	head, err := e.page.slice(e.value, first)
	if err != nil {
		return nil, err
	}
	tail, err := e.page.slice(e.value+e.size-last, last)
	return append(bytes.Clone(head), tail...), err
}

// leaf returns element i of a leaf, whose key and value are at a place: bbolt writes all
// of them one after the other. Its end is where the next one is.
func (p *page) leaf(i int, at uint64) (e element, end uint64, err error) {
	start := uint64(pageHeader + i*elementHeader)
	h, err := p.slice(start, elementHeader)
	if err != nil {
		return e, 0, err
	}
	key, size := uint64(order.Uint32(h[8:])), uint64(order.Uint32(h[12:]))
	if start+uint64(order.Uint32(h[4:])) != at {
		return e, 0, errPlace
	}
	e = element{page: p, value: at + key, size: size, flags: order.Uint32(h)}
	if _, err = p.slice(e.value+size, 0); err == nil {
		e.key, err = p.slice(at, key)
	}
	return e, e.value + size, err
}

// branch returns element i of a branch, as leaf does.
func (p *page) branch(i int, at uint64) (key []byte, id, end uint64, err error) {
	start := uint64(pageHeader + i*elementHeader)
	h, err := p.slice(start, elementHeader)
	if err != nil {
		return nil, 0, 0, err
	}
	size := uint64(order.Uint32(h[4:]))
	if start+uint64(order.Uint32(h)) != at {
		return nil, 0, 0, errPlace
	}
	key, err = p.slice(at, size)
	return key, order.Uint64(h[8:]), at + size, err
}

var errPlace = fmt.Errorf("%w: element is not in its place", ErrDamaged)

// A tree is the content of a bucket.
type tree struct {
	id   uint64
	page *page // instead of an id: a small bucket has its page inside
}

// scan calls f with the elements whose keys start with prefix.
func (s *snapshot) scan(t tree, prefix []byte, f func(element) error) error {
	return s.visit(t, nil, nil, maxDepth, visitor{prefix: prefix, match: f})
}

// visit visits a page whose keys begin with low, if any, and are before high, if any.
// That is how bbolt writes it, so that every key that is not there is known to be
// missing.
func (s *snapshot) visit(t tree, low, high []byte, depth int, v visitor) (err error) {
	p := t.page
	if p == nil {
		if p, err = s.page(t.id); err != nil {
			return err
		}
	}
	branch := p.flags == branchFlag && p.count > 0
	if !branch && p.flags != leafFlag || depth == 0 {
		return fmt.Errorf("%w: page is not a branch or a leaf", ErrDamaged)
	}
	if p.count == 0 && (low != nil || len(bytes.Trim(p.head[pageHeader:], "\x00")) > 0) {
		return fmt.Errorf("%w: page lost its elements", ErrDamaged)
	}
	// The keys of all elements, for those of a branch end where the next one begins.
	keys, elements, children := make([][]byte, p.count), make([]element, 0, p.count), make([]uint64, p.count)
	at := uint64(pageHeader + p.count*elementHeader)
	for i := range p.count {
		if branch {
			keys[i], children[i], at, err = p.branch(i, at)
		} else {
			elements = elements[:i+1]
			elements[i], at, err = p.leaf(i, at)
			keys[i] = elements[i].key
		}
		if err != nil {
			return err
		}
		if i == 0 && low != nil && !bytes.Equal(keys[0], low) || i > 0 && bytes.Compare(keys[i-1], keys[i]) >= 0 || high != nil && bytes.Compare(keys[i], high) >= 0 {
			return fmt.Errorf("%w: keys are out of order", ErrDamaged)
		}
	}
	for i := range p.count {
		next := high
		if i+1 < p.count {
			next = keys[i+1]
		}
		matches := bytes.HasPrefix(keys[i], v.prefix)
		switch {
		case branch && bytes.Compare(keys[i], v.prefix) > 0 && !matches && i > 0:
			// Its key is damaged if the page begins with a different one: then what is
			// looked for may be there.
			if v.other != nil {
				err = s.visit(tree{id: children[i]}, keys[i], next, depth-1, v)
			}
			return err // and so are the others
		case branch && (next == nil || bytes.Compare(next, v.prefix) > 0 && bytes.Compare(next, v.from) > 0):
			err = s.visit(tree{id: children[i]}, keys[i], next, depth-1, v)
		case branch:
		case matches && bytes.Compare(keys[i], v.from) >= 0:
			err = v.match(elements[i])
		case v.other != nil:
			err = v.other(elements[i])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// buckets calls f with each bucket of the file.
func (s *snapshot) buckets(name []byte, f func(name []byte, t tree) error) error {
	return s.scan(tree{id: s.root}, name, func(e element) error {
		b, err := e.read()
		if err != nil {
			return err
		}
		if e.flags != bucketFlag || len(b) < bucketHeader {
			return fmt.Errorf("%w: root has an element that is not a bucket", ErrDamaged)
		}
		t := tree{id: order.Uint64(b)}
		if t.id == 0 {
			if t.page, err = inline(b[bucketHeader:]); err != nil {
				return err
			}
		}
		return f(e.key, t)
	})
}

// get returns the value of a key, or nil. No key is a prefix of a different one.
func (s *snapshot) get(t tree, key []byte) (value []byte, err error) {
	err = s.scan(t, key, func(e element) error {
		value, err = e.read()
		return err
	})
	return value, err
}

// freePages calls f with each page that the next commit may write to.
func (s *snapshot) freePages(f func(id uint64) error) error {
	p, err := s.page(s.freeList)
	if err != nil {
		return err
	}
	count, start := uint64(p.count), uint64(pageHeader)
	if count == 0xFFFF {
		b, err := p.slice(start, 8)
		if err != nil {
			return err
		}
		count, start = order.Uint64(b), start+8
	}
	if p.flags != freeFlag || count > uint64(p.size)/8 {
		return fmt.Errorf("%w: page %d is not a free list", ErrDamaged, s.freeList)
	}
	list, err := p.slice(start, count*8)
	for i := uint64(0); err == nil && i < count; i++ {
		err = f(order.Uint64(list[i*8:]))
	}
	return err
}

// checkPages visits every page, with the records of each bucket that f knows. None may be
// used twice, or be both free and in use: bbolt would overwrite it.
func (s *snapshot) checkPages(f func(bucket []byte, e element) error) error {
	all := &snapshot{file: s.file, meta: s.meta, used: make([]bool, s.pages)}
	err := all.buckets(nil, func(name []byte, t tree) error {
		return all.scan(t, nil, func(e element) error {
			if e.flags != 0 {
				return fmt.Errorf("%w: bucket %s has an element that is not a record", ErrDamaged, name)
			}
			return f(name, e)
		})
	})
	if err != nil {
		return err
	}
	free := all.used
	return all.freePages(func(id uint64) error {
		if id < 2 || id >= uint64(len(free)) || free[id] {
			return fmt.Errorf("%w: page %d is both free and in use", ErrDamaged, id)
		}
		free[id] = true
		return nil
	})
}
