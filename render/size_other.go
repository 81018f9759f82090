//go:build !linux

package render

// execLimits are those of the strictest system in use: NetBSD's ARG_MAX, which
// bounds everything and no single string.
func execLimits() limits { return limits{piece: 256 << 10, total: 256 << 10} }
