package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A machine is a network namespace with the process that keeps it: the node, the client, or a pod. The
// namespace has no name in the file system, so it vanishes with its process, also when that is killed.
type machine struct {
	name  string
	addr  netip.Addr
	proc  *process
	ready chan struct{} // closed when the process has said so
	links *netlink.Handle
	inode uint64 // identifies the namespace
}

// startMachine starts cmd in a network namespace of its own. The process may use the network only after
// powerOn.
func startMachine(name string, addr netip.Addr, cmd *exec.Cmd) (*machine, error) {
	m := &machine{name: name, addr: addr, ready: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	var err error
	m.proc, err = spawn(name, cmd, func(line []byte) {
		if string(line) == saysReady {
			close(m.ready)
		}
	})
	if err != nil {
		return nil, err
	}
	if err := m.open(); err != nil {
		m.proc.kill()
		return nil, fmt.Errorf("enter the namespace of %s: %w", name, err)
	}
	return m, nil
}

func (m *machine) open() error {
	ns, err := netns.GetFromPid(m.proc.pid())
	if err != nil {
		return err
	}
	defer ns.Close()
	var stat unix.Stat_t
	if err := unix.Fstat(int(ns), &stat); err != nil {
		return err
	}
	m.inode = stat.Ino
	m.links, err = netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	return err
}

// powerOn tells the process that its network is complete, and waits until it says that it is ready.
func (m *machine) powerOn(ctx context.Context) error {
	if _, err := io.WriteString(m.proc.stdin, "\n"); err != nil {
		return fmt.Errorf("start %s: %w", m.name, err)
	}
	select {
	case <-m.ready:
		return nil
	case <-m.proc.ended:
		return fmt.Errorf("start %s: it ended at once%s", m.name, because(m.proc.err))
	case <-ctx.Done():
		return ctx.Err()
	}
}

// powerOff ends the process at once, and the namespace with it.
func (m *machine) powerOff() {
	m.links.Close()
	m.proc.kill()
}

// command prepares a command that runs in the machine's namespace.
func (m *machine) command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", m.proc.pid()), name}, args...)...)
}

// again prepares another start of this binary, in the given role, in the machine's namespace.
func (m *machine) again(role string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable() // /proc/self/exe would be nsenter
	if err != nil {
		return nil, fmt.Errorf("find the demo's own binary: %w", err)
	}
	return m.command(self, append([]string{role}, args...)...), nil
}

// saysReady is the line by which a process announces that it serves.
const saysReady = "ready"

// machineRole keeps the namespace of a machine without pods' duties until its standard input ends. With the
// argument "forward" it is a router, as a node is.
func machineRole(args []string) error {
	if len(args) > 0 && args[0] == "forward" {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
			return fmt.Errorf("make the node a router: %w", err)
		}
	}
	if err := awaitNetwork(); err != nil {
		return err
	}
	fmt.Println(saysReady)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// awaitNetwork returns when powerOn was called.
func awaitNetwork() error {
	_, err := os.Stdin.Read(make([]byte, 1))
	if errors.Is(err, io.EOF) {
		return errors.New("the demo has gone")
	}
	return err
}

// cable connects two machines by a pair of virtual interfaces.
func cable(a *machine, nameA string, b *machine, nameB string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nameA
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsPid(b.proc.pid())}
	if err := a.links.LinkAdd(veth); err != nil {
		return fmt.Errorf("connect %s with %s: %w", a.name, b.name, err)
	}
	return nil
}

// plug gives an interface its address and takes it up; then the routes through it can be set.
func (m *machine) plug(name string, addr netip.Prefix, routes ...netlink.Route) error {
	link, err := m.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s of %s: %w", name, m.name, err)
	}
	if addr.IsValid() {
		if err := m.links.AddrAdd(link, &netlink.Addr{IPNet: ipNet(addr)}); err != nil {
			return fmt.Errorf("give %s to interface %s of %s: %w", addr, name, m.name, err)
		}
	}
	if err := m.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("take up interface %s of %s: %w", name, m.name, err)
	}
	for _, route := range routes {
		route.LinkIndex = link.Attrs().Index
		if err := m.links.RouteAdd(&route); err != nil {
			return fmt.Errorf("add route %s of %s: %w", route.Dst, m.name, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
