package localroom

import (
	"os"
	"time"
)

// SetProviderTimeout bounds calls of OAuth providers that s makes from now on.
func SetProviderTimeout(s *Server, d time.Duration) { s.providers.Timeout = d }

// CallPublicProviders has s call public addresses only.
func CallPublicProviders(s *Server) { s.providers.Public = true }

// FailWrites makes s fail to write, as on a full disk: reading goes by a
// mapping.
func FailWrites(s *Store) error {
	s.open.Lock()
	defer s.open.Unlock()
	written := s.file
	var err error
	if s.file, err = os.Open(s.path); err != nil {
		return err
	}
	return written.Close()
}

const MaxRegistrations = maxRegistrations

// SetQuota bounds what identities store from the network, in bytes.
func SetQuota(s *Server, n int64) { s.quota = n }
