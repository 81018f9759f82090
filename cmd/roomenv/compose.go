package main

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/roomenv/roomenv/manifest"
	"github.com/roomenv/roomenv/runner"
)

// newCompose is for docker compose: it runs a provider of a service with these arguments,
// and reads messages from its stdout, each a JSON object on a line.
func newCompose(a *app) *cobra.Command {
	up := newComposeUp(a)
	cmd := group("compose", "Provide variables to services of docker compose",
		up,
		&cobra.Command{
			Use: "down [SERVICE]", Short: "Do nothing: no process runs for the service", Args: cobra.MaximumNArgs(1),
			RunE: func(*cobra.Command, []string) error { return nil },
		},
		&cobra.Command{
			Use: "metadata", Short: "Print the options of the provider", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return printJSON(cmd.OutOrStdout(), metadata(up.LocalFlags()), "  ")
			},
		},
	)
	cmd.Hidden = true
	cmd.PersistentFlags().String("project-name", "", "`name` of the project, which docker compose passes")
	return cmd
}

func newComposeUp(a *app) *cobra.Command {
	u := upkeep{app: a}
	cmd := &cobra.Command{
		Use:   "up [SERVICE]",
		Short: "Print the variables of a manifest as messages",
		Long: `Fetch the values of the manifest and print its variables as messages of type
rawsetenv: docker compose sets them for services that depend on this one, and stores
them in their containers.`,
		Example: "  roomenv compose --project-name app up --manifest .env.room secrets",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := messages{cmd.OutOrStdout()}
			if err := u.provide(cmd.Context(), out); err != nil {
				out.send("error", withHints(err).Error())
				return exitError{exitAbsent, err}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&u.config.Files, "manifest", nil, "read this manifest `file`; repeat to layer files, later files override earlier ones")
	a.roomFlags(flags)
	durationFlag(flags, &u.config.Wait, "wait", 0, "wait this long for a room that is unreachable (default 0)")
	return cmd
}

// provide sends the variables of the manifest.
func (u *upkeep) provide(ctx context.Context, out messages) (err error) {
	u.configure()
	u.config.Environ = []string{} // the services do not inherit it
	u.config.Check = func(m *manifest.Manifest) error {
		if len(m.Files) == 0 {
			return nil
		}
		return &manifest.Error{Pos: m.Files[0].Pos, Message: m.Files[0].Path + ": docker compose takes no files from a provider",
			Hint: "use a service that runs `roomenv sidecar` with a tmpfs volume"}
	}
	u.config.OnError = func(err error) { out.send("info", err.Error()) }
	u.progress = &progress{w: out, stop: make(chan struct{})}
	defer u.progress.close()
	if u.runner, err = runner.New(u.config); err != nil {
		return err
	}
	defer u.runner.Close()
	result, err := u.runner.Resolve(ctx)
	if err != nil {
		return err
	}
	entries := u.runner.Manifest().Entries
	for _, v := range result.Env {
		if slices.ContainsFunc(entries, func(e manifest.Entry) bool { return e.Name == v.Name }) {
			out.send("rawsetenv", v.Name+"="+string(v.Value.Reveal()))
		}
	}
	return nil
}

// messages are those of a provider to docker compose. What is written to it is for people.
type messages struct{ w io.Writer }

func (m messages) send(kind, text string) {
	encoder := json.NewEncoder(m.w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(map[string]string{"type": kind, "message": text})
}

func (m messages) Write(line []byte) (int, error) {
	m.send("info", strings.TrimSpace(strings.TrimPrefix(string(line), "roomenv: ")))
	return len(line), nil
}

// metadata describes flags as options of a service.
func metadata(flags *pflag.FlagSet) any {
	type parameter struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Required    bool   `json:"required"`
		Type        string `json:"type"`
	}
	type command struct {
		Parameters []parameter `json:"parameters"`
	}
	up := command{}
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			_, usage := pflag.UnquoteUsage(f)
			up.Parameters = append(up.Parameters, parameter{f.Name, usage, false, "string"})
		}
	})
	return struct {
		Description string  `json:"description"`
		Up          command `json:"up"`
		Down        command `json:"down"`
	}{"Variables from a MeshAgent room", up, command{[]parameter{}}}
}
