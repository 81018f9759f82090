// Package dotenv holds the .env grammar of roomenv's manifest, and the .env files that
// roomenv writes, against the parsers that its users know: docker compose's, Go's
// godotenv, Node's own and the npm package dotenv; the written files also against
// python-dotenv and shells. It is a module of its own, so that roomenv does not depend on
// them.
package dotenv
