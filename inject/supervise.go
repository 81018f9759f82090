package inject

import (
	"context"
	"sync"
)

// Supervise is [Run] for a command that may change: for each one that comes from
// fresh the child before is stopped, as when the context of Run ends, and that
// one is started. A child that ends by itself ends Supervise. fresh is not
// closed; nil is a command that does not change.
func Supervise(ctx context.Context, c Command, fresh <-chan Command) (int, error) {
	for {
		running, stop := context.WithCancel(ctx)
		var next *Command
		var watching sync.WaitGroup
		watching.Go(func() {
			select {
			case f := <-fresh:
				next = &f
				stop()
			case <-running.Done():
			}
		})
		code, err := Run(running, c)
		stop()
		watching.Wait()
		if next == nil || err != nil || ctx.Err() != nil {
			return code, err
		}
		c = *next
	}
}
