package token

const MaxToken = maxToken

// What is wrong with a token.
var (
	ErrSignature   = errSignature
	ErrExpired     = errExpired
	ErrNotYetValid = errNotYetValid
)
