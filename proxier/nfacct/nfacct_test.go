package nfacct

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inNamespace runs a test in a network namespace of its own.
func inNamespace(t *testing.T, test func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			test()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skipf("needs root to make a network namespace (%v): run as root, or under unshare -rn", err)
	}
}

func TestCounterIsMadeOnce(t *testing.T) {
	inNamespace(t, func() {
		for _, when := range []string{"first", "again"} {
			if err := Ensure("espalier_test"); err != nil {
				t.Errorf("%s: %v", when, err)
			}
		}
		if n, err := Packets("espalier_test"); err != nil || n != 0 {
			t.Errorf("new counter says %d, %v; want 0", n, err)
		}
	})
}

func TestCounterThatIsNotThereHasNoNumber(t *testing.T) {
	inNamespace(t, func() {
		if n, err := Packets("espalier_none"); err == nil {
			t.Errorf("counter that nobody made says %d", n)
		}
	})
}

func TestNameMustFitTheKernel(t *testing.T) {
	for _, name := range []string{"", strings.Repeat("x", 32)} {
		if err := Ensure(name); err == nil || !strings.Contains(err.Error(), "bytes") {
			t.Errorf("Ensure(%q) = %v, want an error about its length", name, err)
		}
	}
}
