package main

import "github.com/spf13/cobra"

func newRoom(a *app) *cobra.Command {
	cmd := group("room", "Serve, back up and check the local room, and issue tokens for it",
		newRoomServe(a), newRoomToken(a), newRoomCheck(a), newRoomBackup(a), newRoomRestore(a), newRoomRecover(a), newRoomCompact(a), newRoomKey(a))
	a.dataFlag(cmd.PersistentFlags())
	return cmd
}
