package inject

import "github.com/roomenv/roomenv/internal/mask"

// SetMasker has m mask what c prints, as a [Consumer] does.
func SetMasker(c *Command, m *mask.Masker) { c.masker = m }
