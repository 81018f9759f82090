package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/room"
)

func newParticipants(a *app) *cobra.Command {
	// A participant is what --json prints of one.
	type participant struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Role string `json:"role"`
	}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "participants",
		Short: "List participants who can receive requests",
		Long: `List the other participants of the room that have messaging enabled, which
` + "`roomenv secret request --from NAME`" + ` finds. A participant with two connections is
listed twice.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAnswer(cmd.Context(), func(ctx context.Context, c *room.Client) error {
				if err := c.Messaging().Enable(ctx); err != nil {
					return fmt.Errorf("list participants: %w", err)
				}
				rows, all := [][]string{{"NAME", "ROLE", "ID"}}, []participant{}
				for _, p := range c.Messaging().Participants() {
					rows = append(rows, []string{p.Name(), p.Role, p.ID})
					all = append(all, participant{p.ID, p.Name(), p.Role})
				}
				if asJSON {
					return printJSON(cmd.OutOrStdout(), all, "  ")
				}
				return printTable(cmd.OutOrStdout(), rows)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of {id, name, role}")
	a.roomFlags(cmd.Flags())
	return cmd
}

// requestOptions are the flags of all commands that ask a participant.
type requestOptions struct {
	from, delegateTo string
	timeout          time.Duration
}

func (q *requestOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&q.from, "from", "", "`name` of the approver; waits for them to join")
	f.StringVar(&q.delegateTo, "delegate-to", "", "`participant` to store the answer for (default: this identity)")
	durationFlag(f, &q.timeout, "timeout", room.DefaultRequestTimeout, "how long to wait for the approver to join and answer")
}

// params are those of a target, with others in pairs.
func (q *requestOptions) params(others ...string) string {
	params := url.Values{"timeout": {strconv.FormatFloat(q.timeout.Seconds(), 'f', -1, 64)}}
	for pair := range slices.Chunk(others, 2) {
		params.Set(pair[0], pair[1])
	}
	return params.Encode()
}
