package room_test

import (
	"context"
	"fmt"
	"os"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/local"
	"github.com/roomenv/roomenv/room/token"
	"github.com/roomenv/roomenv/secret"
)

// An agent has the key that is current, also when it is rotated.
func ExampleSecrets_Watch() {
	dir, err := os.MkdirTemp("", "room-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	here, err := local.Open(dir, local.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer here.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := room.Dial(ctx, room.Config{
		URL:         "ws://room/rooms/demo",
		DialContext: here.DialContext,
		Token: func(context.Context) (secret.Value, error) {
			return here.Token("demo", "agent", token.UserScope())
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	rotate := func(key string) {
		if err := c.Secrets().Set(ctx, room.NewSecret{ID: "api-key", Value: secret.New([]byte(key))}); err != nil {
			fmt.Println(err)
		}
	}
	rotate("k1")
	err = c.Secrets().Watch(ctx, func(changes []room.Change) {
		// What changes tells is which secrets; nil is any of them.
		key, err := c.Secrets().Get(ctx, room.SecretQuery{ID: "api-key"})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d changed, the key is %s\n", len(changes), key.Value.Reveal())
		switch string(key.Value.Reveal()) {
		case "k1":
			rotate("k2") // as somebody else would
		case "k2":
			cancel()
		}
	})
	fmt.Println(err)
	// Output:
	// 0 changed, the key is k1
	// 1 changed, the key is k2
	// context canceled
}
