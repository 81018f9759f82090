//go:build !linux

package tmpfs

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/roomenv/roomenv/render"
)

// Memfds fails if there is a file that a child is to get open.
func Memfds(files []render.File, _ *syscall.Credential) ([]*os.File, error) {
	for _, f := range files {
		if f.Descriptor != 0 {
			return nil, fmt.Errorf("cannot make %s in memory: %s has no memfd_create\nhint: leave memfd out, and run it on Linux", f.Path, runtime.GOOS)
		}
	}
	return nil, nil
}
