package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/room"
)

func newParticipants(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "participants",
		Short: "List who else is in the room and can be asked",
		Long: `participants lists who else is in the room and has messaging enabled: those
whom ` + "`roomenv secret request --from NAME`" + ` finds. One who is connected twice is
listed twice.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRoom(cmd.Context(), func(*room.Config) {}, func(c *room.Client) error {
				if err := c.Messaging().Enable(cmd.Context()); err != nil {
					return fmt.Errorf("cannot list the participants: %w", err)
				}
				list := c.Messaging().Participants()
				if asJSON {
					return printParticipantsJSON(cmd, list)
				}
				table := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(table, "NAME\tROLE\tID")
				for _, p := range list {
					fmt.Fprintf(table, "%s\t%s\t%s\n", printable(cmp.Or(p.Name(), "-")), printable(cmp.Or(p.Role, "-")), printable(p.ID))
				}
				return table.Flush()
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array of {id, name, role}")
	a.roomFlag(cmd.Flags())
	return cmd
}

func printParticipantsJSON(cmd *cobra.Command, list []room.Participant) error {
	type participant struct {
		ID   string `json:"id"`
		Name string `json:"name"`
		Role string `json:"role"`
	}
	all := make([]participant, len(list))
	for i, p := range list {
		all[i] = participant{printable(p.ID), printable(p.Name()), printable(p.Role)}
	}
	encoder := json.NewEncoder(cmd.OutOrStdout())
	encoder.SetIndent("", "  ")
	return encoder.Encode(all)
}

// asking is what all commands that ask a participant have in common.
type asking struct {
	from, delegateTo string
	timeout          time.Duration
}

func (q *asking) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&q.from, "from", "", "`NAME` of the participant to ask, who need not be there yet")
	f.StringVar(&q.delegateTo, "delegate-to", "", "participant to store it for (default this identity)")
	f.DurationVar(&q.timeout, "timeout", room.DefaultRequestTimeout, "how long to wait, for the participant and for the answer")
}

// run asks whoever is called from, for what, until somebody answers. It waits
// for one who is not there yet.
func (q *asking) run(ctx context.Context, c *room.Client, what string, ask func(ctx context.Context, participantID string) error) error {
	if q.timeout <= 0 {
		return hint(fmt.Errorf("cannot wait for %s", q.timeout), "give --timeout a duration such as 5m")
	}
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	m := c.Messaging()
	if err := m.Enable(ctx); err != nil {
		return fmt.Errorf("cannot look for the participant %q: %w", q.from, err)
	}
	// Names are not unique: who has gone, and a client that handles no
	// requests, is passed over.
	passed := make(map[string]bool)
	wanted := func(p room.Participant) bool { return p.Name() == q.from && !passed[p.ID] }
	for {
		if !slices.ContainsFunc(m.Participants(), wanted) {
			fmt.Fprintf(os.Stderr, "roomenv: waiting for %s to join the room\n", printable(q.from))
		}
		found, err := m.Find(ctx, wanted)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return hint(fmt.Errorf("cannot ask %q: no participant of that name joined the room in time", q.from),
				"`roomenv participants` lists who is there; `roomenv requests` is what they run")
		case err != nil:
			return fmt.Errorf("cannot look for the participant %q: %w", q.from, err)
		}
		err = ask(ctx, found.ID)
		answer, _ := errors.AsType[*room.Error](err)
		if !errors.Is(err, room.ErrNotFound) && (answer == nil || answer.Text != room.NoHandler) {
			return q.refused(what, err)
		}
		passed[found.ID] = true
	}
}

// refused says in a person's words what became of a request. What is what was
// asked for.
func (q *asking) refused(what string, err error) error {
	answer, _ := errors.AsType[*room.Error](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, room.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("cannot get %s: %q did not answer within %s", what, q.from, q.timeout)
	case errors.Is(err, room.ErrOperationFailed):
		return fmt.Errorf("cannot get %s from %q: %s", what, q.from, cmp.Or(answer.Text, "the request was rejected"))
	}
	return fmt.Errorf("cannot get %s from %q: %w", what, q.from, err)
}
