package main

import (
	"errors"
	"slices"
	"syscall"

	"github.com/roomenv/roomenv/internal/tmpfs"
	"github.com/roomenv/roomenv/manifest"
)

// errOnceFiles: the command that takes the place of roomenv would end without
// anybody who removes its files, and the lock on them would go with roomenv.
var errOnceFiles = hint(errors.New("cannot use --once: the manifest has files, which roomenv removes when the command has ended"), "leave --once out")

// openFolder opens the folder for the files of m, which belong to owner; nil if
// none is in one, so that who has no files needs no tmpfs.
func openFolder(m *manifest.Manifest, path string, owner *syscall.Credential) (*tmpfs.Dir, error) {
	if !slices.ContainsFunc(m.Files, func(f manifest.File) bool { return !f.Memfd }) {
		return nil, nil
	}
	return tmpfs.Open(path, owner)
}

// closeFolder removes the files. The exit code is the child's whether it can or
// not.
func (a *app) closeFolder(d *tmpfs.Dir) {
	if err := d.Close(); err != nil {
		a.log.Warn("files are left", "error", err)
	}
}
