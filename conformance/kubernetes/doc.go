// Package kubernetes checks the manifests of examples/kubernetes and of
// docs/kubernetes.md as an API server does: strict decoding, defaults, validation, and the
// restricted level of pod security, with the code of Kubernetes itself.
package kubernetes
