// Command embed greets the user whom a manifest names, and again when the name changes.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/roomenv/roomenv/fetch/roomsource"
	"github.com/roomenv/roomenv/runner"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	r, err := runner.New(runner.Config{
		Files: os.Args[1:], Sources: runner.Sources{"room": roomsource.FromEnv},
		OnError: func(err error) { fmt.Println(err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	_, err = r.Run(ctx, runner.Func(func(_ context.Context, rev *runner.Revision) error {
		switch name, _ := rev.Lookup("NAME"); {
		case rev == nil:
			fmt.Println("suspended: NAME is not available")
		case name.Len() == 0:
			return fmt.Errorf("NAME is empty in revision %d", rev.Number)
		default:
			fmt.Printf("hello, %s!\n", name.Reveal())
		}
		return nil
	}))
	fmt.Printf("%v: revision %d, rollbacks %d\n", err, r.Status().Revision, r.Status().Rollbacks)
}
