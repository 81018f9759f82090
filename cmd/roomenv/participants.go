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

// find returns the id of the participant of that name, and waits for one.
func find(ctx context.Context, c *room.Client, name string) (string, error) {
	here := func(p room.Participant) bool { return p.Name() == name }
	m := c.Messaging()
	if err := m.Enable(ctx); err != nil {
		return "", fmt.Errorf("cannot look for the participant %q: %w", name, err)
	}
	if !slices.ContainsFunc(m.Participants(), here) {
		fmt.Fprintf(os.Stderr, "roomenv: waiting for %s to join the room\n", printable(name))
	}
	found, err := m.Find(ctx, here)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "", hint(fmt.Errorf("cannot ask %q: no participant of that name joined the room in time", name),
			"`roomenv participants` lists who is there; `roomenv requests` is what they run")
	case err != nil:
		return "", fmt.Errorf("cannot look for the participant %q: %w", name, err)
	}
	// From here on others of our name are the ones to find.
	if err := m.Disable(ctx); err != nil {
		return "", fmt.Errorf("cannot leave messaging: %w", err)
	}
	return found.ID, nil
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

// run finds the participant and asks. The deadline of the context is the
// request's.
func (q *asking) run(ctx context.Context, c *room.Client, ask func(ctx context.Context, participantID string) error) error {
	if q.timeout <= 0 {
		return hint(fmt.Errorf("cannot wait for %s", q.timeout), "give --timeout a duration such as 5m")
	}
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	id, err := find(ctx, c, q.from)
	if err != nil {
		return err
	}
	return ask(ctx, id)
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
