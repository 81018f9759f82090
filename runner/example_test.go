package runner_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/roomenv/roomenv/fetch"
	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/runner"
	"github.com/roomenv/roomenv/secret"
)

// vault is a source of your own. Package roomsource has that of rooms.
type vault struct {
	mu     sync.Mutex
	values map[string]string
}

func (v *vault) Resolve(_ context.Context, t manifest.Target) (secret.Value, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	value, ok := v.values[t.ID()]
	if !ok {
		return secret.Value{}, fetch.ErrMissing
	}
	return secret.New([]byte(value)), nil
}

func (v *vault) set(values map[string]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.Copy(v.values, values)
}

// A function is called with each revision of the values. One that it refuses is rolled
// back: the previous revision stays in use.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	v := &vault{values: map[string]string{"host": "db1", "port": "5432"}}
	r, err := runner.New(runner.Config{
		// In place of files, for this example.
		Environ: []string{"HOST=vault:text/host", "PORT=vault:text/port"},
		Sources: runner.Sources{"vault": func() (fetch.Source, error) { return v, nil }},
		OnError: func(err error) { fmt.Println(err) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	_, err = r.Run(ctx, runner.Func(func(_ context.Context, rev *runner.Revision) error {
		if rev == nil { // a value was revoked
			fmt.Println("disconnect")
			return nil
		}
		host, _ := rev.Lookup("HOST")
		port, _ := rev.Lookup("PORT")
		address := string(host.Reveal()) + ":" + string(port.Reveal())
		switch rev.Number {
		case 1:
			v.set(map[string]string{"port": "none"})
		case 2:
			v.set(map[string]string{"port": "5433"})
			r.Refresh()
			return fmt.Errorf("connect to %s: invalid port", address)
		default:
			cancel()
		}
		fmt.Printf("revision %d: connect to %s\n", rev.Number, address)
		r.Refresh()
		return nil
	}))
	fmt.Println(errors.Is(err, context.Canceled), r.Status().Rollbacks)
	// Output:
	// revision 1: connect to db1:5432
	// apply revision 2 (rolled back): connect to db1:none: invalid port
	// revision 3: connect to db1:5433
	// true 1
}
