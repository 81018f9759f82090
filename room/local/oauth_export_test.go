package local

import "time"

// SetProviderTimeout bounds calls of OAuth providers that s makes from now on.
func SetProviderTimeout(s *Server, d time.Duration) { s.providers.Timeout = d }
