package room_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func Example() {
	ctx := context.Background()
	config, err := room.FromEnv().Config()
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := room.Dial(ctx, config)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	key, err := c.Secrets().Get(ctx, room.SecretQuery{ID: "openai-api-key"})
	switch {
	case errors.Is(err, room.ErrNotFound):
		fmt.Println("nobody has stored it yet")
	case err != nil:
		fmt.Println(err)
	default:
		fmt.Println(key.Name, key.Value.Len(), "bytes")
	}
}

// An agent asks alice for a key, whenever she comes; the room keeps it.
func ExampleSecrets_Request() {
	demo := openDemo()
	defer demo.close()
	ctx, cancel := context.WithTimeout(context.Background(), room.DefaultRequestTimeout)
	defer cancel()
	defer demo.alice(ctx).Close()
	c, err := room.Dial(ctx, demo.as("agent"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	if err := c.Messaging().Enable(ctx); err != nil {
		fmt.Println(err)
		return
	}
	alice, err := c.Messaging().Find(ctx, func(p room.Participant) bool { return p.Name() == "alice" })
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		key, err := c.Secrets().Request(ctx, room.SecretRequest{ParticipantID: alice.ID, URL: "https://stripe.com", Type: "text/plain"})
		switch {
		case errors.Is(err, room.ErrOperationFailed):
			fmt.Println("alice says no:", err)
		case err != nil:
			fmt.Println(err)
		default:
			fmt.Println(key.Len(), "bytes")
		}
	}
	// Output:
	// alice is asked for https://stripe.com
	// 5 bytes
	// 5 bytes
}

// An agent has the key that is current, also when it is rotated.
func ExampleSecrets_Watch() {
	demo := openDemo()
	defer demo.close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := room.Dial(ctx, demo.as("agent"))
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

// Someone answers what they are asked.
func ExampleConfig_onSecretRequested() {
	c, err := room.Dial(context.Background(), room.Config{
		URL: "wss://rooms.example.com/rooms/demo",
		OnSecretRequested: func(ctx context.Context, c *room.Client, r room.SecretRequested) {
			err := c.Secrets().Reject(ctx, r.ID, "ask me for "+r.Request.URL+" tomorrow")
			if err != nil {
				fmt.Println(err)
			}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	<-c.Done()
}
