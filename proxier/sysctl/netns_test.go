package sysctl_test

import (
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"espalier/proxier/sysctl"
)

// machine is the real root, seen from a network namespace of this test's own. What is not of a namespace must not be
// written there.
func machine(t *testing.T) sysctl.Root {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		text := "needs a network namespace (" + err.Error() + "): run as root, or with: unshare -rn go test ./proxier/sysctl"
		if os.Getenv("NETNS") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	if err := sysctl.LoadConntrack(); err != nil {
		t.Fatal(err)
	}
	return "/"
}

// The files of /proc/sys/net are those of the thread that opens them.
func TestTimeoutsOfANamespace(t *testing.T) {
	root := machine(t)
	settings := sysctl.Conntrack{Established: 1234 * time.Second, UDP: 17 * time.Second, Liberal: true}.Settings(1)
	settings = append(settings, sysctl.RouteLocalnet())
	changes, err := root.Apply(settings)
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != len(settings) {
		t.Errorf("%d changes, want %d", len(changes), len(settings))
	}
	for _, s := range settings {
		if got, err := root.Read(s.Path); got != s.Value || err != nil {
			t.Errorf("%s is %d (error %v), want %d", s.Name(), got, err, s.Value)
		}
	}
	if !root.ConntrackLiberal() {
		t.Error("conntrack is not liberal, although it was told to be")
	}
	if changes, err := root.Apply(settings); err != nil || len(changes) > 0 {
		t.Errorf("the second time: changes %v, error %v; want none", changes, err)
	}
}

// The size of the table belongs to the machine, so a namespace cannot change it.
func TestTheSizeOfTheTableCannotBeSetInANamespace(t *testing.T) {
	root := machine(t)
	before, err := root.Read("proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := root.Apply(sysctl.Conntrack{MaxPerCore: 1, Min: 1}.Settings(1)); err != nil {
		t.Errorf("nothing needs to be changed, but: %v", err)
	}
	setting := sysctl.Conntrack{MaxPerCore: 1, Min: before + 1}.Settings(1)[:1]
	_, err = root.Apply(setting)
	for _, part := range []string{"nf_conntrack_max", "--conntrack-max-per-core=0", "--init-only"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v does not mention %q", err, part)
		}
	}
	if err := root.Check(setting[0]); err == nil {
		t.Error("Check sees nothing of it")
	}
	if after, _ := root.Read("proc/sys/net/netfilter/nf_conntrack_max"); after != before {
		t.Errorf("nf_conntrack_max is %d, and was %d", after, before)
	}
}

func TestConntrackIsThereOnceItIsLoaded(t *testing.T) {
	if !machine(t).HasConntrack() {
		t.Error("there are no settings of conntrack")
	}
	if scratch(t, nil).HasConntrack() {
		t.Error("there are settings of conntrack where there is no file")
	}
}
