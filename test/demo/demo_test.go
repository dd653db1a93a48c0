package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDemo runs the demo as "make demo" does, on each backend, and reads what it promises.
func TestDemo(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces: make test")
	}
	demo, espalier := build(t, "espalier/test/demo"), build(t, "espalier/cmd/espalier")
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			requireBackend(t, backend)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			text, err := exec.CommandContext(ctx, demo, "--espalier", espalier, "--backend", backend).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			for _, want := range []string{
				"of 300 answered, seen as coming from " + gateway.Addr().String(),
				"requests while the shop changed: 0 lost",
				"0 rules of Services are left",
				"left behind: nothing",
			} {
				if !strings.Contains(string(text), want) {
					t.Errorf("the demo does not say %q", want)
				}
			}
			if strings.Contains(string(text), "\x1b[") {
				t.Error("colours although this is no terminal")
			}
			if t.Failed() {
				t.Logf("%s", text)
			}
		})
	}
}

// TestDemoInterrupted ends the demo in the middle, as Ctrl-C does: it must say so and clean up.
func TestDemoInterrupted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for network namespaces: make test")
	}
	requireBackend(t, "nft")
	demo, espalier := build(t, "espalier/test/demo"), build(t, "espalier/cmd/espalier")
	tmp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), demo, "--espalier", espalier, "--backend", "nft")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	var said strings.Builder
	p, err := spawn("demo", cmd, func(line []byte) {
		fmt.Fprintf(&said, "%s\n", line)
		if strings.Contains(string(line), "Traffic flows") {
			_ = cmd.Process.Signal(os.Interrupt)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if p.err == nil || !strings.Contains(said.String(), "left behind: nothing") {
		t.Errorf("after an interrupt: err %v, want one, and a clean end:\n%s", p.err, said.String())
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func build(t *testing.T, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(pkg))
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	return binary
}

// requireBackend skips the test on a machine whose iptables or kernel does not have the backend.
func requireBackend(t *testing.T, backend string) {
	t.Helper()
	probe := exec.CommandContext(t.Context(), "unshare", "--net", "iptables-"+backend, "-w", "5", "-t", "nat", "-S")
	if text, err := probe.CombinedOutput(); err != nil {
		t.Skipf("this machine lacks iptables-%s: %v: %s", backend, err, text)
	}
}
