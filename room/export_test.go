package room

import (
	"context"

	"github.com/roomenv/roomenv/internal/wire"
)

// Invoke calls a tool that tests serve.
func (c *Client) Invoke(ctx context.Context, toolkit, tool string, arguments wire.Content) (wire.Content, error) {
	content, _, err := c.invoke(ctx, toolkit, tool, arguments, false)
	return content, err
}

func init() { maxList = 4000 }
