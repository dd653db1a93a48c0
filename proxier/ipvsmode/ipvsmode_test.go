package ipvsmode

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// inNamespace runs a test in a network namespace of its own.
func inNamespace(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		defer close(done)      // also when the test is skipped
		runtime.LockOSThread() // the thread ends with the goroutine, and the namespace with it
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		test(t)
	}()
	if err := <-done; err != nil {
		if os.Getenv("NETNS") != "" {
			t.Fatal(err)
		}
		t.Skipf("needs root to make a network namespace (%v): run as root, or under unshare -rn", err)
	}
}

// makeSets makes IP sets, or skips the test where the kernel has none.
func makeSets(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := netlink.IpsetCreate(name, "hash:ip", netlink.IpsetCreateOptions{}); err != nil {
			t.Skipf("this kernel lacks ip sets: %v", err)
		}
	}
}

// sets are the names of those that there are.
func sets(t *testing.T) (names []string) {
	t.Helper()
	all, err := netlink.IpsetListAll()
	if err != nil {
		t.Error(err)
	}
	for _, s := range all {
		names = append(names, s.SetName)
	}
	slices.Sort(names)
	return names
}

func TestSetsAreRemovedAndThoseOfOthersStay(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		makeSets(t, "KUBE-CLUSTER-IP", "KUBE-6-LOOP-BACK", "KUBE-NODE-PORT-LOCAL-SCTP-HASH", "KUBE-6-LOAD-BALANCER-SOURCE-CID", "KUBE-DST-2FAIKBEHMPQGFFGR", "somebody")
		removed, err := Remove()
		want := []string{"ip set KUBE-6-LOAD-BALANCER-SOURCE-CID", "ip set KUBE-6-LOOP-BACK", "ip set KUBE-CLUSTER-IP", "ip set KUBE-NODE-PORT-LOCAL-SCTP-HASH"}
		if slices.Sort(removed); err != nil || !slices.Equal(removed, want) {
			t.Errorf("removed %q, error %v; want %q", removed, err, want)
		}
		if left := sets(t); !slices.Equal(left, []string{"KUBE-DST-2FAIKBEHMPQGFFGR", "somebody"}) {
			t.Errorf("left are %q, want those of others", left)
		}
		if removed, err := Remove(); err != nil || len(removed) > 0 {
			t.Errorf("the second time: removed %q, error %v; want nothing", removed, err)
		}
	})
}

func TestSetThatARuleAsksStays(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		makeSets(t, "KUBE-CLUSTER-IP", "KUBE-LOOP-BACK")
		rule := exec.Command("iptables-nft", "-A", "INPUT", "-m", "set", "--match-set", "KUBE-CLUSTER-IP", "src", "-j", "DROP")
		if out, err := rule.CombinedOutput(); err != nil {
			t.Skipf("this kernel lacks the match for ip sets: %v: %s", err, out)
		}
		removed, err := Remove()
		if err == nil || !strings.Contains(err.Error(), "remove ip set KUBE-CLUSTER-IP: a rule of somebody else asks it") {
			t.Errorf("error %v, want one that names the set and what keeps it", err)
		}
		if !slices.Equal(removed, []string{"ip set KUBE-LOOP-BACK"}) {
			t.Errorf("removed %q, want the other one", removed)
		}
	})
}

// A device of that name is only removed if it is what kube-proxy makes.
func TestDeviceOfSomebodyElseStays(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = device
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "peer"}); err != nil {
			t.Fatal(err)
		}
		if removed, err := Remove(); err != nil || len(removed) > 0 {
			t.Errorf("removed %q, error %v; want nothing", removed, err)
		}
		if _, err := netlink.LinkByName(device); err != nil {
			t.Error(err)
		}
	})
}

func TestTheDeviceIsRemoved(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = device
		if err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: attrs}); err != nil {
			t.Skipf("this kernel lacks devices of type dummy: %v", err)
		}
		removed, err := Remove()
		if err != nil || !slices.Contains(removed, "device "+device) {
			t.Errorf("removed %q, error %v; want the device", removed, err)
		}
		if _, err := netlink.LinkByName(device); err == nil {
			t.Error("the device is still there")
		}
	})
}

// Without privileges nothing can be removed, and that is said.
func TestWithoutPrivilege(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		makeSets(t, "KUBE-CLUSTER-IP")
		caps := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&caps, &none[0]); err != nil { // of this thread alone
			t.Fatal(err)
		}
		if removed, err := Remove(); err == nil || len(removed) > 0 {
			t.Errorf("removed %q, error %v; want nothing and why", removed, err)
		}
	})
}
