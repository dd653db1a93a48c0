package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"espalier/test/netns/lab"
)

// Pod is a network namespace with addresses of its node's pod ranges.
type Pod struct {
	*lab.Namespace
	Addrs []netip.Addr // in the order of the node's ranges, IPv4 first

	node       *Node
	link       string // the node's end
	linkNumber int
}

const podLink = "eth0"

// The addresses of a range that pods get: the first is the bridge's.
const (
	firstPod = 2
	lastPod  = 254
)

// AddPod makes a namespace and connects it.
func (n *Node) AddPod(name string) (*Pod, error) {
	ns, err := lab.NewNamespace(name)
	if err != nil {
		return nil, err
	}
	p := &Pod{Namespace: ns, node: n}
	if err := n.claim(p); err != nil {
		ns.Close()
		return nil, fmt.Errorf("add pod %s: %w", name, err)
	}
	err = p.Prepare(false)
	if err == nil {
		err = n.wire.plugin.attach(n, p)
	}
	if err == nil {
		err = errors.Join(awaitUp(n.Namespace, p.link), awaitUp(p.Namespace, podLink))
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("add pod %s: %w", name, err)
	}
	return p, nil
}

// claim gives the pod addresses and a name for its link. An address that became free is given last, as host-local of CNI
// does, so that nobody takes a new pod for an old one.
func (n *Node) claim(p *Pod) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.cidrs) == 0 {
		return fmt.Errorf("%s has no pod ranges yet", n.Name)
	}
	for range lastPod - firstPod + 1 {
		if n.last++; n.last > lastPod {
			n.last = firstPod
		}
		if n.taken(nth(n.cidrs[0], n.last)) {
			continue
		}
		for _, cidr := range n.cidrs {
			p.Addrs = append(p.Addrs, nth(cidr, n.last))
		}
		n.links++
		p.link, p.linkNumber = fmt.Sprintf("%s%d", linkPrefix[n.wire.config.Mode], n.links), 1000+n.links
		n.pods[p] = true
		return nil
	}
	return fmt.Errorf("%s has %d pods and no address left", n.Name, len(n.pods))
}

// linkPrefix is what network plugins call the ends of pods' links.
var linkPrefix = map[Mode]string{Overlay: "veth", Routed: "cali", Flat: "vethwepl", Endpoint: "lxc"}

// Link is the name of the node's end of the pod's link.
func (p *Pod) Link() string { return p.link }

func (n *Node) taken(a netip.Addr) bool {
	for p := range n.pods {
		if slices.Contains(p.Addrs, a) {
			return true
		}
	}
	return false
}

// Close disconnects the pod and gives up its namespace; processes that were started in it with Pdeathsig end. Calling it
// again does nothing.
func (p *Pod) Close() {
	p.node.mu.Lock()
	open := p.node.pods[p]
	delete(p.node.pods, p)
	p.node.mu.Unlock()
	if !open {
		return
	}
	if link, err := p.node.Links().LinkByName(p.link); err == nil {
		_ = p.node.Links().LinkDel(link) // it goes with the namespace otherwise
	}
	p.Namespace.Close()
}

func (n *Node) closePods() {
	n.mu.Lock()
	var pods []*Pod
	for p := range n.pods {
		pods = append(pods, p)
	}
	n.mu.Unlock()
	for _, p := range pods {
		p.Close()
	}
}
