package e2e

import (
	"os"
	"testing"

	"espalier/test/container"
	"espalier/test/e2e/client"
	"espalier/test/e2e/pods"
	"espalier/test/e2e/sandbox"
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m.Run, map[string]sandbox.Role{pods.Role: pods.Run, client.Role: client.Run, container.Role: container.Run}))
}
