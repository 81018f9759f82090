package main

import (
	"github.com/spf13/cobra"

	"github.com/roomenv/roomenv/manifest"
)

func newManifest() *cobra.Command {
	return group("manifest", "Inspect the manifest format", &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of YAML manifests, for editors",
		Example: "  roomenv manifest schema > roomenv.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(manifest.Schema())
			return err
		},
	})
}
