// Command source keeps a greeting current, of which a part comes from a room and a
// part from a source of its own, file.go.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/runner"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run prints the greeting of the manifest whenever it changes.
func run(ctx context.Context, manifestFile, dir string) error {
	r, err := runner.New(runner.Config{
		Files: []string{manifestFile},
		Sources: runner.Sources{
			manifest.SchemeRoom: roomsource.FromEnv,
			"file":              func() (fetch.Source, error) { return openFiles(dir) },
		},
	})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = r.Run(ctx, runner.Func(func(_ context.Context, rev *runner.Revision) error {
		if rev == nil {
			fmt.Println("suspended")
			return nil
		}
		greeting, _ := rev.Lookup("GREETING")
		fmt.Printf("revision %d: %s\n", rev.Number, greeting.Reveal())
		return nil
	}))
	return err
}
