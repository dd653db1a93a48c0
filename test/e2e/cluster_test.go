package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"espalier/test/e2e/cluster"
	"espalier/test/e2e/wire"
)

// networks are the two clusters that the tests run against, one in each run: $E2E_NETWORK chooses.
var networks = map[string]cluster.Config{
	"":        {Mode: wire.Overlay, Backend: "nft"},
	"overlay": {Mode: wire.Overlay, Backend: "nft"},
	"routed":  {Mode: wire.Routed, Backend: "legacy"},
}

// theCluster is made once, by the first test that asks for it, and ends with the process.
var theCluster = sync.OnceValues(func() (*cluster.Cluster, error) {
	config, ok := networks[os.Getenv("E2E_NETWORK")]
	if !ok {
		return nil, fmt.Errorf("E2E_NETWORK is %q: want overlay or routed", os.Getenv("E2E_NETWORK"))
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	config.Nodes, config.Dir = 3, "/run/e2e"
	if config.Proxy, err = cluster.Espalier(filepath.Join(root, "deploy"), config.Backend, filepath.Join(root, "bin", "espalier")); err != nil {
		return nil, err
	}
	config.Say = say
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	c, err := cluster.New(ctx, config)
	if err == nil {
		err = c.StartProxies(ctx)
	}
	return c, err
})

// say prints what happens, as it happens.
func say(format string, args ...any) { fmt.Printf("    "+format+"\n", args...) }

// theClusterFor returns the cluster, and prints the ends of all logs if the test fails.
func theClusterFor(t *testing.T) *cluster.Cluster {
	t.Helper()
	c, err := theCluster()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs(15))
		}
	})
	return c
}
