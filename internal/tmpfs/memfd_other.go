//go:build !linux

package tmpfs

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"github.com/roomenv/roomenv/render"
)

// Memfds fails if there is a file for a descriptor.
func Memfds(files []render.File, _ *syscall.Credential) ([]*os.File, error) {
	for _, f := range files {
		if f.Descriptor != 0 {
			return nil, fmt.Errorf("create %s in memory: memfd_create is unsupported on %s\nhint: remove memfd, or use Linux", f.Path, runtime.GOOS)
		}
	}
	return nil, nil
}
