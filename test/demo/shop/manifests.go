package shop

import "embed"

//go:embed *.yaml
var manifests embed.FS

// Apps are the names of the Deployments and their Services, in the order in which a request meets them.
var Apps = []string{"frontend", "backend", "database"}

// Manifest returns the YAML of an app: a Deployment, then its Service.
func Manifest(app string) ([]byte, error) { return manifests.ReadFile(app + ".yaml") }
