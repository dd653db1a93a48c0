package iptables_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
)

// enterNamespace puts the test into a network namespace of its own, which ends with the test: the goroutine
// keeps its thread, and processes that it starts inherit the namespace. A subtest is another goroutine, so it
// needs its own call.
func enterNamespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		text := "needs a network namespace (" + err.Error() + "): run as root, or with: unshare -rn go test ./proxier/iptables"
		if os.Getenv("NETNS") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	// The lock of the legacy tools is for the whole machine.
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "xtables.lock"))
	run(t, "ip", "link", "set", "lo", "up")
}

// needLargeBatches skips the test in a user namespace: there iptables may not raise the buffer of its netlink
// socket (SO_SNDBUFFORCE), and some 500 rules are too many for one COMMIT.
func needLargeBatches(t *testing.T) {
	t.Helper()
	users, err := os.ReadFile("/proc/self/uid_map")
	if err != nil || strings.Join(strings.Fields(string(users)), " ") != "0 0 4294967295" {
		t.Skip("needs root outside of a user namespace, for large batches: run as root")
	}
}

// run runs a command that must do well.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	return feed(t, "", name, args...)
}

// feed does the same with some input.
func feed(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// open is iptables.Open for what must be there.
func open(t testing.TB, f ipproto.Family, b iptables.Backend) *iptables.Kernel {
	t.Helper()
	k, err := iptables.Open(t.Context(), f, b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var backends = []iptables.Backend{iptables.NFT, iptables.Legacy}

// everywhere runs a test in a fresh namespace for each backend and family.
func everywhere(t *testing.T, test func(t *testing.T, k *iptables.Kernel)) {
	for _, b := range backends {
		for _, f := range ipproto.Families {
			t.Run(b.String()+" "+f.String(), func(t *testing.T) {
				enterNamespace(t)
				test(t, open(t, f, b))
			})
		}
	}
}
