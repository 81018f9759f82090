// Package oauth runs the local room's OAuth, and an exec that keeps tokens
// current, against providers that nobody here wrote: zitadel/oidc in this process,
// and oidc-provider, a certified one, from npm. It is a module of its own for the
// sake of what they bring along.
package oauth
