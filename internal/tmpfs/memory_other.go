//go:build !linux

package tmpfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// ErrDisk reports that a directory is not in memory.
var ErrDisk = errors.New("filesystems in memory are unsupported")

func inMemory(*os.File) error {
	return fmt.Errorf("%w on %s\nhint: use variables instead of files, or use Linux", ErrDisk, runtime.GOOS)
}
