package fetch

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/roomenv/roomenv/secret"
)

// Tokens are fetched again before they expire: with tokenMargin left, which is less
// than what rooms take for expired, or with half of their time left. One that is then
// unchanged is fetched once more after tokenPause.
const (
	tokenMargin = 50 * time.Second
	tokenPause  = 5 * time.Second
)

// Expiry returns when a JWT expires (RFC 7519 section 4.1.4). It is zero for a JWT that
// does not expire, and for other values. The signature is not verified.
func Expiry(v secret.Value) time.Time {
	token, _, err := jwt.NewParser().ParseUnverified(string(v.Reveal()), jwt.MapClaims{})
	if err != nil && !errors.Is(err, jwt.ErrTokenUnverifiable) { // an alg that is not registered
		return time.Time{}
	}
	exp, err := token.Claims.GetExpirationTime()
	if err != nil || exp == nil || exp.Unix() <= 0 || exp.Year() > 9999 {
		return time.Time{}
	}
	return exp.Time
}

// renewal returns when to fetch a token that expires at expires; zero is with the next
// poll.
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
