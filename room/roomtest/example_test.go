package roomtest_test

import (
	"context"
	"fmt"

	"github.com/roomenv/roomenv/room"
	"github.com/roomenv/roomenv/room/roomtest"
	"github.com/roomenv/roomenv/secret"
)

// An agent asks alice for a key, and later reads what she provided.
func Example() {
	t := newT() // in a test: the *testing.T
	defer t.end()

	rooms := roomtest.New(t)
	alice := rooms.Dial("demo", "alice", func(c *room.Config) {
		c.OnSecretRequested = func(ctx context.Context, c *room.Client, r room.SecretRequested) {
			fmt.Println("alice is asked for", r.Request.URL)
			if err := c.Secrets().Provide(ctx, r.ID, secret.New([]byte("sk_42"))); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})

	agent := rooms.Dial("demo", "agent")
	for range 2 {
		key, err := agent.Secrets().Request(t.Context(), room.SecretRequest{
			ParticipantID: alice.Session().ParticipantID, URL: "https://stripe.com", Type: "text/plain",
		})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(key.Len(), "bytes")
	}
	// Output:
	// alice is asked for https://stripe.com
	// 5 bytes
	// 5 bytes
}
