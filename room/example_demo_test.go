package room_test

import (
	"context"
	"fmt"
	"os"

	"github.com/roomenv/roomenv/internal/localroom"
	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// A demoRoom is a room for one example. Its methods panic at what is not part of
// it.
type demoRoom struct {
	*localroom.Room
	dir string
}

func openDemo() demoRoom {
	dir, err := os.MkdirTemp("", "room-")
	must(err)
	e, err := localroom.Open(dir, localroom.Options{})
	must(err)
	return demoRoom{e, dir}
}

// as is how somebody enters.
func (d demoRoom) as(name string) room.Config {
	return room.Config{
		URL:         "ws://room/rooms/demo",
		DialContext: d.DialContext,
		Token: func(context.Context) (secret.Value, error) {
			return d.Token("demo", name, token.UserScope())
		},
	}
}

// alice is somebody who provides what she is asked for.
func (d demoRoom) alice(ctx context.Context) *room.Client {
	config := d.as("alice")
	config.OnSecretRequested = func(ctx context.Context, c *room.Client, r room.SecretRequested) {
		fmt.Println("alice is asked for", r.Request.URL)
		err := c.Secrets().Provide(ctx, r.ID, secret.New([]byte("sk_42")))
		if ctx.Err() == nil { // else the example, which has its answer, has ended
			must(err)
		}
	}
	c, err := room.Dial(ctx, config)
	must(err)
	must(c.Messaging().Enable(ctx))
	return c
}

func (d demoRoom) close() {
	must(d.Close())
	must(os.RemoveAll(d.dir))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
