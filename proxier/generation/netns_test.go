package generation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// enterNamespace puts the test into a network namespace of its own, which ends with the test: the goroutine
// keeps its thread, and processes that it starts inherit the namespace. A subtest is another goroutine, so it
// needs its own call.
func enterNamespace(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		text := "needs a network namespace (" + err.Error() + "): run as root, or with: unshare -rn go test ./proxier/generation"
		if os.Getenv("NETNS") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	// The lock of the legacy tools is for the whole machine.
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "xtables.lock"))
	run(t, "ip link set lo up")
}

// run runs a command that must do well; its words are separated by spaces.
func run(t testing.TB, command string) string {
	t.Helper()
	out, err := try("", command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func try(stdin, command string) (string, error) {
	words := strings.Fields(command)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", command, err, out)
	}
	return string(out), nil
}

// tool is "iptables-nft", say, in a row that serves both families and backends.
func tool(f ipproto.Family, b backend) string {
	name := "iptables"
	if f == ipproto.IPv6 {
		name = "ip6tables"
	}
	if b == legacy {
		return name + "-legacy"
	}
	return name + "-nft"
}

func openProbe(t testing.TB, f ipproto.Family, b backend) *Probe {
	t.Helper()
	p, err := OpenNFT()
	if b == legacy {
		p, err = OpenLegacy(f)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func read(t testing.TB, p *Probe) Stamp {
	t.Helper()
	s, err := p.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// everywhere runs a test in a fresh namespace for each backend and family; tool is the command.
func everywhere(t *testing.T, test func(t *testing.T, p *Probe, tool string)) {
	for _, b := range []backend{nft, legacy} {
		for _, f := range ipproto.Families {
			t.Run(tool(f, b), func(t *testing.T) {
				enterNamespace(t)
				test(t, openProbe(t, f, b), tool(f, b))
			})
		}
	}
}

// load is what the tests start from: a chain in each table, rules in it, a jump to it.
const load = `*mangle
:KUBE-PROXY-CANARY - [0:0]
COMMIT
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -j KUBE-FORWARD
-A OUTPUT -j KUBE-FORWARD
-A KUBE-FORWARD -p tcp -j ACCEPT
-A KUBE-FORWARD -p udp -j ACCEPT
COMMIT
*nat
:KUBE-SERVICES - [0:0]
-A OUTPUT -j KUBE-SERVICES
-A KUBE-SERVICES -p tcp -j RETURN
-A KUBE-SERVICES -p udp -j RETURN
COMMIT
`

func restore(t *testing.T, tool, input string) {
	t.Helper()
	if _, err := try(input, tool+"-restore --noflush"); err != nil {
		t.Fatal(err)
	}
}

// send sends one datagram of one byte through the OUTPUT chains of both families. It uses the thread's own system
// calls: package net would do it from any thread, which may be in another namespace.
func send(t *testing.T) {
	t.Helper()
	for _, to := range []unix.Sockaddr{
		&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 9},
		&unix.SockaddrInet6{Addr: [16]byte{15: 1}, Port: 9},
	} {
		domain := unix.AF_INET
		if _, ok := to.(*unix.SockaddrInet6); ok {
			domain = unix.AF_INET6
		}
		fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Sendto(fd, []byte("x"), 0, to); err != nil {
			t.Errorf("send to %v: %v", to, err)
		}
		unix.Close(fd)
	}
}
