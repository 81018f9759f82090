// Package dotenv holds the .env grammar of roomenv's manifest against the
// parsers that its users know: docker compose's, Go's godotenv, Node's own and
// the npm package dotenv. It is a module of its own, so that roomenv does not
// depend on them.
package dotenv
