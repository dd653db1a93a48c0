package coexist

import (
	"os"
	"testing"

	"espalier/test/e2e/sandbox"
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m.Run, map[string]sandbox.Role{}))
}
