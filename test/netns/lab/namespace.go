package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace without a name, held by one thread of this process. It disappears with Close
// or with the process, whichever comes first. So do programs that were started in it with Pdeathsig.
type Namespace struct {
	Name string // for messages only

	calls chan func()
	links *netlink.Handle
	fd    int // of the namespace, for other threads that enter it
}

// NewNamespace makes an empty namespace. It needs CAP_SYS_ADMIN, which "unshare -rn" gives to everybody.
func NewNamespace(name string) (*Namespace, error) {
	return start(name, func() error { return unix.Unshare(unix.CLONE_NEWNET) })
}

// Current is the namespace that the process is in. Close leaves it as it is.
func Current(name string) (*Namespace, error) {
	return start(name, func() error { return nil })
}

func start(name string, enter func() error) (*Namespace, error) {
	ns := &Namespace{Name: name, calls: make(chan func())}
	started := make(chan error)
	onThread(func() { ns.hold(enter, started) })
	if err := <-started; err != nil {
		return nil, fmt.Errorf("make network namespace %s: %w", name, err)
	}
	return ns, nil
}

// onThread runs f on a thread of its own, which ends with f instead of being reused in the wrong namespace. The main
// thread is passed over: the runtime cannot end it, and what /proc/self tells is about it.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		begun := make(chan struct{})
		onThread(func() { close(begun); f() })
		<-begun // as long as this goroutine has the main thread, that one gets another
		runtime.UnlockOSThread()
	}()
}

// hold keeps a thread inside the namespace and runs the calls on it.
func (ns *Namespace) hold(enter func() error, started chan<- error) {
	err := enter()
	if err == nil {
		ns.links, err = netlink.NewHandle(unix.NETLINK_ROUTE)
	}
	if err == nil {
		ns.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	started <- err
	if err != nil {
		return
	}
	for call := range ns.calls {
		call()
	}
}

// Links sends requests of routing netlink into the namespace.
func (ns *Namespace) Links() *netlink.Handle { return ns.links }

// Do runs f on the thread that is inside the namespace and returns what it returns.
func (ns *Namespace) Do(f func() error) error {
	done := make(chan error, 1)
	ns.calls <- func() { done <- f() }
	return <-done
}

// Go runs f on another thread inside the namespace, so that it may wait for something without keeping Do from others.
func (ns *Namespace) Go(f func() error) error {
	done := make(chan error, 1)
	onThread(func() {
		if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", ns.Name, err)
			return
		}
		done <- f()
	})
	return <-done
}

// Close gives the namespace up. The kernel removes it once no socket and no process is left in it.
func (ns *Namespace) Close() {
	ns.links.Close()
	_ = unix.Close(ns.fd)
	close(ns.calls)
}

// Command runs a program inside the namespace and returns its standard output.
func (ns *Namespace) Command(stdin io.Reader, argv ...string) ([]byte, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	if err := ns.Do(cmd.Start); err != nil { // a child inherits the namespace of the thread that forks it
		return nil, fmt.Errorf("run %s in %s: %w", argv[0], ns.Name, err)
	}
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("run %s in %s: %w: %s", strings.Join(argv, " "), ns.Name, err, strings.TrimSpace(errs.String()))
	}
	return out.Bytes(), nil
}

// Sysctl sets a kernel parameter of the namespace, named by its path below /proc/sys/net.
func (ns *Namespace) Sysctl(path, value string) error {
	err := ns.Do(func() error { return os.WriteFile("/proc/sys/net/"+path, []byte(value), 0) })
	if err != nil {
		return fmt.Errorf("set net/%s to %s in %s: %w", path, value, ns.Name, err)
	}
	return nil
}

// ReadSysctl returns a kernel parameter of the namespace.
func (ns *Namespace) ReadSysctl(path string) (string, error) {
	var value []byte
	err := ns.Do(func() (err error) {
		value, err = os.ReadFile("/proc/sys/net/" + path)
		return err
	})
	return strings.TrimSpace(string(value)), err
}

// Rootless reports whether this process is root only of a user namespace, where some limits cannot be raised.
func Rootless() bool {
	var inside, outside, count uint64
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return false
	}
	_, err = fmt.Sscan(string(uids), &inside, &outside, &count)
	return err == nil && count != math.MaxUint32 // the initial one maps every ID
}

// Usable says why this process cannot build a lab: nil, or an error that tells how to run it so that it can.
func Usable() error {
	ns, err := NewNamespace("probe")
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: run as root, or under unshare -rn", err)
	}
	if err != nil {
		return err
	}
	ns.Close()
	return nil
}
