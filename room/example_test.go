package room_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/secret"
)

func Example() {
	ctx := context.Background()
	c, err := room.Dial(ctx, room.Config{
		URL: "wss://rooms.example.com/rooms/demo",
		Token: func(context.Context) (secret.Value, error) {
			return secret.New([]byte(os.Getenv("MESHAGENT_TOKEN"))), nil
		},
	})
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
	ctx, cancel := context.WithTimeout(context.Background(), room.DefaultRequestTimeout)
	defer cancel()
	c, err := room.Dial(ctx, room.Config{URL: "wss://rooms.example.com/rooms/demo"})
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
