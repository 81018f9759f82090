package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"
)

func newInstall() *cobra.Command {
	return &cobra.Command{
		Use:   "install DIR",
		Short: "Copy the roomenv executable to a directory",
		Long: `Copy the executable of roomenv to DIR/roomenv, such as from its image to a volume, for
containers whose image does not have it. An earlier one is replaced atomically.`,
		Example: "  roomenv install /opt/roomenv",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path := filepath.Join(args[0], "roomenv")
			if err := install(path); err != nil {
				return fmt.Errorf("install %s: %w", path, err)
			}
			return nil
		},
	}
}

func install(path string) (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(0o755))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Cleanup()) }()
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	return to.CloseAtomicallyReplace()
}
