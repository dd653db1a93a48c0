package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"espalier/test/e2e/cluster"
)

// killInCommits kills the proxy of a node some times while it writes rules, and with it the program that writes them, a
// random moment after that was started.
func killInCommits(t *testing.T, n *cluster.Node, times int) {
	t.Helper()
	for kills := 0; kills < times; {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := awaitWriter(ctx, n.Proxy)
		cancel()
		if err != nil {
			t.Fatalf("after %d kills: %v", kills, err)
		}
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond) // any moment will do
		if !writes(n.Proxy.PID()) {
			continue // it was too fast
		}
		before := len(n.Proxy.Exits())
		n.Proxy.Kill()
		kills++
		if _, err := n.Proxy.AwaitExit(patient(t), before); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitWriter waits until a proxy has started iptables-restore.
func awaitWriter(ctx context.Context, p *cluster.Proxy) error {
	for {
		if writes(p.PID()) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until the proxy writes rules: %w", context.Cause(ctx))
		case <-time.After(time.Millisecond): // nobody tells
		}
	}
}

// writes reports whether a process has a child that writes rules.
func writes(pid int) bool {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for child := range strings.FieldsSeq(string(children)) {
			line, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if program, _, _ := bytes.Cut(line, []byte{0}); bytes.HasSuffix(program, []byte("-restore")) {
				return true
			}
		}
	}
	return false
}

// expectNoDifference wants the rules of a node to be those that the cluster asks for, as "espalier diff" tells.
func expectNoDifference(t *testing.T, n *cluster.Node) {
	t.Helper()
	if err := n.Proxy.AwaitQuiet(patient(t)); err != nil {
		t.Fatal(err)
	}
	difference, err := n.Proxy.Diff(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	if difference != "" {
		t.Errorf("%s: the rules are not those that the cluster asks for:\n%s", n.Name, difference[:min(len(difference), 2000)])
	}
}
