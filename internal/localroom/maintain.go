package localroom

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roomenv/roomenv/secret"
)

// A Report says what is in the file of a store.
type Report struct {
	Secrets int   // that are intact
	Damaged int   // records that cannot be decrypted
	Size    int64 // of the file, in bytes
	Free    int64 // of that what new secrets may use
	Altered error // wraps [ErrAltered]: records are missing, added or replaced
}

// Err returns what is wrong, if anything.
func (r Report) Err() error {
	var damaged error
	if r.Damaged > 0 {
		damaged = fmt.Errorf("%w: %d of %d records", ErrDamaged, r.Damaged, r.Secrets+r.Damaged)
	}
	return errors.Join(damaged, r.Altered)
}

// inspect reads all of a file, with the values.
func (s *sealer) inspect(f *os.File) (r Report, c *content, err error) {
	snap, _, err := newest(f)
	if err != nil {
		return r, nil, err
	}
	if c, err = s.read(snap); err != nil {
		return r, nil, err
	}
	if err := c.checkKey(); err != nil {
		return r, nil, err
	}
	want, old, err := c.totals()
	if err != nil {
		return r, nil, err
	}
	found, err := c.count()
	if err != nil {
		return r, nil, err
	}
	if old {
		want.sum = found.sum
	}
	r.Altered = want.differs(found)
	r.Size = int64(snap.pages) * int64(snap.pageSize)
	err = errors.Join(
		snap.freePages(func(uint64) error { r.Free += int64(snap.pageSize); return nil }),
		c.secrets(func(_ []byte, _ Info, _ secret.Value, _ boxes, err error) error {
			if err != nil {
				r.Damaged++
			} else {
				r.Secrets++
			}
			return nil
		}),
	)
	return r, c, err
}

// secrets calls f with each record, sealed and open, or why it does not open.
func (c *content) secrets(f func(key []byte, info Info, value secret.Value, sealed boxes, err error) error) error {
	return c.infos(nil, func(key, box []byte) error {
		var value secret.Value
		sealed, err := c.value(key)
		if err != nil {
			return err
		}
		info, err := c.openInfo(key, box)
		if err == nil {
			value, err = c.openValue(info, sealed)
		}
		return f(key, info, value, boxes{box, sealed}, err)
	})
}

// snapshotPath is served to processes of the same user, on the socket of the room.
const snapshotPath = "/snapshot"

// chunkTimeout bounds how long the reader of a snapshot may take for a part of it: until
// it has all, bbolt keeps the pages and may have to keep changes waiting.
const chunkTimeout = 10 * time.Second

// serveSnapshot answers with a copy of the file as of the latest commit.
func (s *Store) serveSnapshot(w http.ResponseWriter, _ *http.Request) {
	begun := false
	err := s.view(func(c *content) error {
		if begun {
			return errors.New("the store was written to meanwhile")
		}
		begun = true
		snap := c.snapshot
		w.Header().Set("Content-Length", strconv.FormatUint(snap.pages*uint64(snap.pageSize), 10))
		return snap.copy(paced{w, http.NewResponseController(w)})
	})
	switch {
	case err != nil && begun:
		panic(http.ErrAbortHandler) // what was sent is too short
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// paced gives the reader of a response time for each part of it.
type paced struct {
	w       io.Writer
	control *http.ResponseController
}

func (p paced) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(chunkTimeout)); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}

// copy writes a file that has this commit alone.
func (s *snapshot) copy(w io.Writer) error {
	page := make([]byte, s.pageSize)
	if err := readAt(s.file, page, s.at); err != nil {
		return err
	}
	for id := range uint64(2) {
		order.PutUint64(page, id)
		if _, err := w.Write(page); err != nil {
			return err
		}
	}
	start := 2 * int64(s.pageSize)
	_, err := io.Copy(w, io.NewSectionReader(s.file, start, int64(s.pages)*int64(s.pageSize)-start))
	return err
}

// Copy writes a copy of the store to f, which is empty, and checks it. The process that
// serves the room makes the copy, and continues to serve it.
func (r *Room) Copy(ctx context.Context, f *os.File) (Report, error) {
	report, err := r.copy(ctx, f)
	if err != nil {
		err = fmt.Errorf("copy store %s: %w", r.path(storeFile), err)
	}
	return report, err
}

func (r *Room) copy(ctx context.Context, f *os.File) (Report, error) {
	key, err := r.currentKey()
	if err != nil {
		return Report{}, err
	}
	seal, err := newSealer(key)
	if err != nil {
		return Report{}, err
	}
	response, err := r.ask(ctx, http.MethodGet, snapshotPath, "")
	if err != nil {
		return Report{}, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(f, response.Body); err != nil {
		return Report{}, err
	}
	report, _, err := seal.inspect(f)
	return report, err
}

// Check reads a copy of the store.
func (r *Room) Check(ctx context.Context) (Report, error) {
	f, err := os.CreateTemp("", "roomenv-check-*") // 0600
	if err != nil {
		return Report{}, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return Report{}, err
	}
	return r.Copy(ctx, f)
}

// Backup writes a copy of the store to a new file, or with replace to any. There is no
// file if the copy is not in order.
func (r *Room) Backup(ctx context.Context, path string, replace bool) (report Report, err error) {
	name := os.Link
	if replace {
		name = os.Rename
	}
	err = newFile(path, func(f *os.File) (err error) {
		if report, err = r.Copy(ctx, f); err == nil {
			err = report.Err()
		}
		return err
	}, name)
	return report, err
}

// exclusively runs do while this process has the lock of the store at path, which no
// symbolic link leads to. The file may be damaged.
func (r *Room) exclusively(do func(path string, f *os.File, seal *sealer) error) error {
	key, err := r.currentKey()
	if err != nil {
		return err
	}
	seal, err := newSealer(key)
	if err != nil {
		return err
	}
	path, err := filepath.EvalSymlinks(r.path(storeFile))
	if err != nil {
		return err
	}
	f, err := openLocked(path)
	if err != nil {
		return fmt.Errorf("open store %s: %w", path, r.nameLeader(err))
	}
	defer func() { _, _ = unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close() }()
	return do(path, f, seal)
}

// keep gives the file at path a second name, which it returns.
func keep(path string) (string, error) {
	name := path + "." + time.Now().UTC().Format("20060102T150405.000Z")
	return name, os.Link(path, name)
}

// Restore makes the room that of a backup. A store that exists stays, which is an error,
// or with replace gets the name kept. The backup has to be in order and of this room key.
func (r *Room) Restore(backup io.Reader, replace bool) (report Report, kept string, err error) {
	key, err := r.currentKey()
	if err != nil {
		return report, "", err
	}
	seal, err := newSealer(key)
	if err != nil {
		return report, "", err
	}
	write := func(f *os.File) error {
		if _, err := io.Copy(f, backup); err != nil {
			return err
		}
		if report, _, err = seal.inspect(f); err != nil {
			return err
		}
		return report.Err()
	}
	if !replace {
		err = newFile(r.path(storeFile), write, os.Link)
		return report, "", err
	}
	err = r.exclusively(func(path string, _ *os.File, _ *sealer) error {
		return newFile(path, write, func(from, to string) (err error) {
			if kept, err = keep(path); err != nil {
				return err
			}
			return os.Rename(from, to)
		})
	})
	if errors.Is(err, fs.ErrNotExist) {
		return r.Restore(backup, false)
	}
	return report, kept, err
}

// Compact writes the store again, without free pages. It returns the sizes before and
// after that, in bytes.
func (r *Room) Compact() (before, after int64, err error) {
	err = r.exclusively(func(path string, f *os.File, seal *sealer) error {
		c, err := seal.intact(f)
		if err != nil {
			return fmt.Errorf("compact store %s: %w", path, err)
		}
		before, err = size(path)
		if err != nil {
			return err
		}
		if err := replaceFile(path, seal.rebuild(c, seal)); err != nil {
			return fmt.Errorf("compact store %s: %w", path, err)
		}
		after, err = size(path)
		return err
	})
	return before, after, err
}

func size(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// intact returns the content of a file in which nothing is wrong.
func (s *sealer) intact(f *os.File) (*content, error) {
	report, c, err := s.inspect(f)
	if err == nil {
		err = report.Err()
	}
	return c, err
}

// rebuild returns a function that writes a store of to with the records of c.
func (s *sealer) rebuild(c *content, to *sealer) func(*os.File) error {
	return func(f *os.File) error {
		t, _, err := c.totals()
		if err != nil {
			return err
		}
		return to.build(t.sequence, func(put func([]byte, boxes) error) error {
			return c.secrets(func(key []byte, info Info, value secret.Value, sealed boxes, err error) error {
				if err == nil && to != s {
					key = to.recordKey(info.RecordKey)
					sealed, err = to.sealRecord(key, info, value)
				}
				if err != nil {
					return err
				}
				return put(key, sealed)
			})
		})(f)
	}
}

// RotateKey encrypts the store with next, or if that is zero with a new random key. A key
// file then has that key. Tokens that were signed with the previous key are no longer
// valid. If the process is killed, the next one uses the key that the store has.
func (r *Room) RotateKey(next secret.Value) error {
	inFile := r.options.Key.Len() == 0
	if next.Len() == 0 {
		b := make([]byte, KeySize)
		_, _ = rand.Read(b) // never fails
		next = secret.New(b)
	}
	to, err := newSealer(next)
	if err != nil {
		return err
	}
	return r.exclusively(func(path string, f *os.File, seal *sealer) error {
		c, err := seal.intact(f)
		if err == nil && inFile {
			err = replaceFile(r.path(nextKeyFile), writeKey(next))
		}
		if err == nil {
			err = replaceFile(path, seal.rebuild(c, to))
		}
		if err == nil && inFile {
			err = r.adoptKey()
		}
		if err != nil {
			return fmt.Errorf("rotate key of store %s: %w", path, err)
		}
		return nil
	})
}
