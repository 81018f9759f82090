package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/internal/text"
	"github.com/roomenv/roomenv/secret"
)

// storeCommand completes a command that does something with the store of the local room.
func (a *app) storeCommand(cmd *cobra.Command, run func(cmd *cobra.Command, r *localroom.Room, args []string) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		room, err := a.openRoom(localroom.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, room.Close()) }()
		err = run(cmd, room, args)
		if errors.Is(err, localroom.ErrLocked) {
			err = hint(err, "stop that process, which has the room in use, and run the command again")
		}
		return err
	}
	return cmd
}

// secrets counts them.
func secrets(n int) string { return text.Count(n, "secret", "secrets") }

func printReport(w io.Writer, r localroom.Report) {
	fmt.Fprintf(w, "%s, %d KiB, of which %d KiB are free\n", secrets(r.Secrets), r.Size/1024, r.Free/1024)
}

func newRoomCheck(a *app) *cobra.Command {
	return a.storeCommand(&cobra.Command{
		Use:   "check [--data DIR]",
		Short: "Check every secret of the local room",
		Long: `Check that the store is in order: read all of it, decrypt every secret, and compare
the number and state of the secrets with those of the last change. It can run while
other processes use the room. It changes nothing.`,
		Example: "  roomenv room check",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, r *localroom.Room, _ []string) error {
		report, err := r.Check(cmd.Context())
		if err != nil {
			return err
		}
		printReport(cmd.OutOrStdout(), report)
		return report.Err()
	})
}

func newRoomBackup(a *app) *cobra.Command {
	var force bool
	cmd := a.storeCommand(&cobra.Command{
		Use:   "backup FILE|- [--force] [--data DIR]",
		Short: "Write a checked copy of the local room to a file",
		Long: `Write a copy of the store, as of the last change, to a new file, or with - to stdout,
and check it. It can run while other processes use the room. The copy is encrypted
with the room key, which is not in it: keep the key at another place.`,
		Example: `  roomenv room backup /mnt/backup/room.db
  roomenv room backup - | ssh host 'cat >room.db'`,
		Args: exactlyOne("a file, or - for stdout"),
	}, func(cmd *cobra.Command, r *localroom.Room, args []string) error {
		if args[0] == "-" {
			return backupTo(cmd, r)
		}
		report, err := r.Backup(cmd.Context(), args[0], force)
		if errors.Is(err, os.ErrExist) {
			err = hint(errors.New("the file exists"), "pass --force to replace it")
		}
		if err != nil {
			return fmt.Errorf("back up to %s: %w", args[0], err)
		}
		printReport(cmd.OutOrStdout(), report)
		return nil
	})
	cmd.Flags().BoolVar(&force, "force", false, "replace the file if it exists")
	return cmd
}

// backupTo writes to stdout only what is in order.
func backupTo(cmd *cobra.Command, r *localroom.Room) error {
	f, err := os.CreateTemp("", "roomenv-backup-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	report, err := r.Copy(cmd.Context(), f)
	if err == nil {
		err = report.Err()
	}
	if err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(cmd.OutOrStdout(), f)
	return err
}

func newRoomRestore(a *app) *cobra.Command {
	var force bool
	cmd := a.storeCommand(&cobra.Command{
		Use:   "restore FILE|- [--force] [--data DIR]",
		Short: "Make the local room that of a backup",
		Long: `Check a backup and make it the store of the local room, which needs the room key of
that time. A store that exists is not replaced unless --force is given, and is renamed
then. No process may use the room meanwhile.`,
		Example: `  roomenv room restore /mnt/backup/room.db
  roomenv room restore - --force <room.db`,
		Args: exactlyOne("a file, or - for stdin"),
	}, func(cmd *cobra.Command, r *localroom.Room, args []string) error {
		from := cmd.InOrStdin()
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("restore: %w", err)
			}
			defer f.Close()
			from = f
		}
		report, kept, err := r.Restore(from, force)
		if errors.Is(err, os.ErrExist) {
			err = hint(errors.New("a store exists"), "pass --force to replace it")
		}
		if errors.Is(err, localroom.ErrDamaged) || errors.Is(err, localroom.ErrAltered) {
			return hint(fmt.Errorf("restore %s: %v", args[0], err), "use a different backup") //nolint:errorlint // it is not the store that is damaged
		}
		if err != nil {
			return fmt.Errorf("restore %s: %w", args[0], err)
		}
		printReport(cmd.OutOrStdout(), report)
		printKept(cmd, kept)
		return nil
	})
	cmd.Flags().BoolVar(&force, "force", false, "replace a store that exists")
	return cmd
}

func printKept(cmd *cobra.Command, name string) {
	if name != "" {
		fmt.Fprintf(cmd.OutOrStdout(), "previous store: %s\n", name)
	}
}

func newRoomRecover(a *app) *cobra.Command {
	return a.storeCommand(&cobra.Command{
		Use:   "recover [--data DIR]",
		Short: "Save the secrets of a damaged local room",
		Long: `Write a new store with every secret that can be decrypted, whatever else of the file
is damaged, and rename the damaged store. Secrets that were lost are counted. If
records were reported as altered, those that are there are accepted from now on. No
process may use the room meanwhile.`,
		Example: "  roomenv room recover",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, r *localroom.Room, _ []string) error {
		found, err := r.Recover()
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "saved %s, lost %d\n", secrets(found.Secrets), found.Lost)
		if found.Uncertain {
			fmt.Fprintln(cmd.OutOrStdout(), "secrets that were deleted or replaced may be back: the index of the file is damaged")
		}
		printKept(cmd, found.Kept)
		return nil
	})
}

func newRoomCompact(a *app) *cobra.Command {
	return a.storeCommand(&cobra.Command{
		Use:   "compact [--data DIR]",
		Short: "Give the space of deleted secrets back",
		Long: `Write the store again without the space that deleted and replaced secrets have left,
which otherwise only new secrets use. No process may use the room meanwhile.`,
		Example: "  roomenv room compact",
		Args:    cobra.NoArgs,
	}, func(cmd *cobra.Command, r *localroom.Room, _ []string) error {
		before, after, err := r.Compact()
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d KiB, previously %d KiB\n", after/1024, before/1024)
		return err
	})
}

func newRoomKey(a *app) *cobra.Command {
	return group("key", "Manage the key of the local room", newRoomKeyRotate(a))
}

func newRoomKeyRotate(a *app) *cobra.Command {
	var file string
	cmd := a.storeCommand(&cobra.Command{
		Use:   "rotate [--new-key FILE|-] [--data DIR]",
		Short: "Encrypt the local room with a new key",
		Long: `Encrypt every secret with a new key and make that the room key. Tokens of the previous
key are no longer valid, and its backups still need it: keep it as long as you keep
them. If the command is interrupted, the room has either key. No process may use the
room meanwhile.

If ROOMENV_ROOM_KEY is set, the new key has to be given with --new-key: set the variable
to it afterwards.`,
		Example: `  roomenv room key rotate
  head -c 32 /dev/urandom | base64 | roomenv room key rotate --new-key -`,
		Args: cobra.NoArgs,
	}, func(cmd *cobra.Command, r *localroom.Room, _ []string) (err error) {
		var key secret.Value
		switch {
		case file != "":
			value, err := readValue(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			if key, err = localroom.ParseKey(value); err != nil {
				return fmt.Errorf("--new-key: %w", err)
			}
		case a.RoomKey.Len() > 0:
			return hint(errors.New("rotate room key: ROOMENV_ROOM_KEY is set, so that the new key is not stored in a file"),
				"pass the new key with --new-key FILE")
		}
		return r.RotateKey(key)
	})
	cmd.Flags().StringVar(&file, "new-key", "", "`file` with the new key, 32 bytes in base64 or hex; - is stdin (default a random key)")
	return cmd
}
