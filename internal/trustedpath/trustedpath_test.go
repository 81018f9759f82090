package trustedpath_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/roomenv/roomenv/internal/trustedpath"
)

const stranger = 65533

// tree makes a directory with a/b/file in it, which nobody else can write.
func tree(t *testing.T) (dir string) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := filepath.Join(dir, "a", "b")
	if err := errors.Join(os.Chmod(dir, 0o700), os.MkdirAll(b, 0o700), os.WriteFile(filepath.Join(b, "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCheck(t *testing.T) {
	const path = "a/b/file"
	chmod := func(name string, mode os.FileMode) func(string) error {
		return func(dir string) error { return os.Chmod(filepath.Join(dir, name), mode) }
	}
	chown := func(name string, uid, gid int) func(string) error {
		return func(dir string) error { return os.Lchown(filepath.Join(dir, name), uid, gid) }
	}
	link := func(target, name string) func(string) error {
		return func(dir string) error { return os.Symlink(target, filepath.Join(dir, name)) }
	}
	tests := map[string]struct {
		path    string
		prepare []func(dir string) error
		want    string // the end of the place that is not in order
		root    bool   // needs root
	}{
		"private":                          {path: path},
		"directory":                        {path: "a/b"},
		"odd spelling":                     {path: "./a//b/../b/./file"},
		"readable":                         {path: path, prepare: []func(string) error{chmod("a", 0o755), chmod(path, 0o644)}},
		"writable file":                    {path: path, prepare: []func(string) error{chmod(path, 0o602)}, want: path},
		"writable directory":               {path: path, prepare: []func(string) error{chmod("a", 0o777)}, want: "a"},
		"sticky directory":                 {path: path, prepare: []func(string) error{chmod("a", 0o777|fs.ModeSticky)}},
		"sticky directory at the end":      {path: "a", prepare: []func(string) error{chmod("a", 0o777|fs.ModeSticky)}, want: "a"},
		"link":                             {path: "l/file", prepare: []func(string) error{link("a/b", "l")}},
		"link to the end":                  {path: "l", prepare: []func(string) error{link("a/./b/", "l")}},
		"absolute link":                    {path: "l/dev/null/..", prepare: []func(string) error{link("/", "l")}, want: "/dev/null"},
		"link past a writable directory":   {path: "l/file", prepare: []func(string) error{link("a/b", "l"), chmod("a", 0o707)}, want: "a"},
		"link in a writable directory":     {path: "a/l", prepare: []func(string) error{link("b/file", "a/l"), chmod("a", 0o777)}, want: "a"},
		"parent of the target of a link":   {path: "l/../b/file", prepare: []func(string) error{link("a/b", "l"), chmod("a", 0o702)}, want: "a"},
		"directory of a stranger":          {path: path, prepare: []func(string) error{chown("a", stranger, 0)}, want: "a", root: true},
		"file of a stranger":               {path: path, prepare: []func(string) error{chown(path, stranger, 0)}, want: path, root: true},
		"link of a stranger":               {path: "l/file", prepare: []func(string) error{link("a/b", "l"), chown("l", stranger, 0)}, want: "l", root: true},
		"writable by a group":              {path: path, prepare: []func(string) error{chmod("a", 0o770), chown("a", 0, stranger)}, want: "a", root: true},
		"writable by the group root":       {path: path, prepare: []func(string) error{chmod("a", 0o770), chown("a", 0, 0)}, root: true},
		"of a stranger in a sticky parent": {path: path, prepare: []func(string) error{chmod("a", 0o777|fs.ModeSticky), chown("a/b", stranger, 0)}, want: "a/b", root: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.root && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			dir := tree(t)
			t.Chdir(dir)
			for _, prepare := range test.prepare {
				if err := prepare(dir); err != nil {
					t.Fatal(err)
				}
			}
			for _, path := range []string{test.path, dir + "/" + test.path} {
				err := trustedpath.Check(path)
				if want := test.want; want == "" {
					if err != nil {
						t.Errorf("check %s: %v", path, err)
					}
				} else if place, _, _ := strings.Cut(strings.TrimPrefix(errorText(err), dir+"/"), " "); !errors.Is(err, trustedpath.ErrUntrusted) || place != want {
					t.Errorf("check %s: %v, want an error about %s", path, err, want)
				}
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestCheckFails(t *testing.T) {
	dir := tree(t)
	if err := os.Symlink("loop", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"none": fs.ErrNotExist, "a/none/file": fs.ErrNotExist, "loop": syscall.ELOOP, "a/b/file/more": syscall.ENOTDIR,
	} {
		if err := trustedpath.Check(filepath.Join(dir, path)); !errors.Is(err, want) {
			t.Errorf("check %s: %v, want %v", path, err, want)
		}
	}
}

func TestCheckRootAlone(t *testing.T) {
	if err := trustedpath.Check("/"); err != nil {
		t.Error(err)
	}
}
