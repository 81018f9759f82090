package status

import (
	"bufio"
	"crypto/rand"
	"net"
	"os"
	"strings"
)

// abstract is how the names of sockets without a file start.
const abstract = "@roomenv-status-"

func listenAbstract() (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: abstract + rand.Text(), Net: "unix"})
}

// abstractSockets returns the sockets without a file of this network namespace, of all
// users.
func abstractSockets() (names []string) {
	f, err := os.Open("/proc/net/unix") // its last column is the name (proc_net(5))
	if err != nil {
		return nil
	}
	defer f.Close()
	seen := map[string]bool{} // a connection has the name of its listener
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if i := strings.LastIndexByte(line, ' '); strings.HasPrefix(line[i+1:], abstract) && !seen[line[i+1:]] {
			seen[line[i+1:]] = true
			names = append(names, line[i+1:])
		}
	}
	return names
}
