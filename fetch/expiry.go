package fetch

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/roomenv/roomenv/secret"
)

// Tokens are fetched anew before they end: with tokenMargin left, which is less
// than what rooms take for expired, or with half of their time left. What is then
// still the same is asked for again, with tokenPause between.
const (
	tokenMargin = 50 * time.Second
	tokenPause  = 5 * time.Second
)

// expiry is when a JWT ends (RFC 7519 section 4.1.4). It is zero for one that does
// not say so, and for what is no JWT. Who the token is for verifies it, not we.
func expiry(v secret.Value) time.Time {
	token, _, err := jwt.NewParser().ParseUnverified(string(v.Reveal()), jwt.MapClaims{})
	if err != nil && !errors.Is(err, jwt.ErrTokenUnverifiable) { // by us, who do not know its alg
		return time.Time{}
	}
	exp, err := token.Claims.GetExpirationTime()
	if err != nil || exp == nil || exp.Unix() <= 0 || exp.Year() > 9999 {
		return time.Time{}
	}
	return exp.Time
}

// renewal is when to ask for a token that ends at expires; zero is with the next
// round.
func renewal(expires, now time.Time) time.Time {
	switch left := expires.Sub(now); {
	case expires.IsZero() || left <= 0:
		return time.Time{}
	case left > 2*tokenMargin:
		return expires.Add(-tokenMargin)
	default:
		return now.Add(max(left/2, tokenPause))
	}
}
