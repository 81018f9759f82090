//go:build !linux

package tmpfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// ErrDisk is why a folder is refused that is not in memory.
var ErrDisk = errors.New("roomenv knows no filesystem in memory here")

func inMemory(*os.File) error {
	return fmt.Errorf("%w (%s)\nhint: use variables in place of files, or run it on Linux", ErrDisk, runtime.GOOS)
}
