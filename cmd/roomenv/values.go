package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/google/renameio/v2"
	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/internal/wire"
	"github.com/roomenv/roomenv/secret"
)

// writeValue writes to stdout or replaces the file at path as a whole; pipes
// and devices are opened and written to.
func writeValue(stdout io.Writer, path string, value secret.Value) error {
	if path == "-" {
		_, err := stdout.Write(value.Reveal())
		return err
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = os.WriteFile(path, value.Reveal(), 0)
	} else {
		err = replace(path, value.Reveal())
	}
	if err != nil {
		return fmt.Errorf("write secret: %w", err)
	}
	return nil
}

// replace replaces the file at path. The new one has mode 0600, whatever that of the
// old one is.
func replace(path string, content []byte) error {
	f, err := renameio.NewPendingFile(path, renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // without effect after the replacement
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// readValue reads the file at path; - is stdin.
func readValue(stdin io.Reader, path string) (secret.Value, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return secret.Value{}, fmt.Errorf("read value: %w", err)
		}
		defer f.Close()
		stdin = f
	}
	b, err := readLimited(stdin)
	if err != nil {
		return secret.Value{}, fmt.Errorf("read value: %w", err)
	}
	return secret.New(b), nil
}

// readLimited refuses what no room would take before it has read it all.
func readLimited(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, wire.DefaultMaxMessage+1))
	if len(b) > wire.DefaultMaxMessage {
		return nil, fmt.Errorf("larger than %d MiB", wire.DefaultMaxMessage>>20)
	}
	return b, err
}

// decode does not wrap the error of the decoder, which quotes its input.
func decode(encoded string) (secret.Value, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return secret.Value{}, errors.New("invalid --base64: want standard base64 with padding")
	}
	return secret.New(b), nil
}

// A valueSource is where an answer comes from: a file or a command.
type valueSource struct{ file, command string }

func (v *valueSource) flags(f *pflag.FlagSet) {
	f.StringVar(&v.file, "from-file", "", "`file` with the value; - is stdin")
	f.StringVar(&v.command, "from-command", "", "shell `command` that prints the value; one newline at its end is removed")
}

func (v *valueSource) given() bool { return v.file != "" || v.command != "" }

func (v *valueSource) value(ctx context.Context) (secret.Value, error) {
	if v.command != "" {
		return commandValue(ctx, v.command)
	}
	return readValue(os.Stdin, v.file)
}

// commandValue is what the command prints. It has the terminal, for those that
// ask for a passphrase.
func commandValue(ctx context.Context, command string) (secret.Value, error) {
	b, err := runCommand(ctx, command)
	if b = bytes.TrimSuffix(b, []byte("\n")); err == nil && len(b) == 0 {
		err = errors.New("the command printed no output")
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("get value from command %q: %w", command, err)
	}
	return secret.New(b), nil
}

func runCommand(ctx context.Context, command string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b, err := readLimited(stdout)
	_ = stdout.Close() // a command that prints more gets SIGPIPE
	if waitErr := cmd.Wait(); err == nil {
		err = waitErr
	}
	return b, err
}
