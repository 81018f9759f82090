// Package containers has tests of the image of roomenv in containers and pods of podman.
// The script run starts them.
package containers
