package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "roomenv %s %s/%s %s\n", version(), runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}

// stamped is the version of a build without version control, such as that of the
// container image. It is set by -ldflags "-X main.stamped=VERSION".
var stamped string

// version returns stamped or, without one, what the Go toolchain stamped: a tag, or
// a pseudo-version of the commit.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return cmp.Or(stamped, info.Main.Version, "unknown")
	}
	return cmp.Or(stamped, "unknown")
}
