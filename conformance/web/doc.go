// Package web drives the page of `roomenv requests --web` in a real browser,
// Chromium. It is a module of its own, so that the product does not depend on
// what drives the browser.
package web
