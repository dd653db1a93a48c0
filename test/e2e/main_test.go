package e2e

import (
	"maps"
	"os"
	"testing"

	"espalier/test/e2e/client"
	"espalier/test/e2e/container"
	"espalier/test/e2e/pods"
	"espalier/test/e2e/sandbox"
)

func TestMain(m *testing.M) {
	roles := map[string]sandbox.Role{pods.Role: pods.Run, client.Role: client.Run}
	maps.Copy(roles, container.Roles)
	os.Exit(sandbox.Main(m.Run, roles))
}
