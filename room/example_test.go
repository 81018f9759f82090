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
