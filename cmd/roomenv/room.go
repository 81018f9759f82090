package main

import "github.com/spf13/cobra"

func newRoom(a *app) *cobra.Command {
	cmd := group("room", "Serve the local room, and issue tokens for it", newRoomServe(a), newRoomToken(a))
	a.dataFlag(cmd.PersistentFlags())
	return cmd
}
