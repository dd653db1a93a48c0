package synthetic

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// serviceBits is the length of the host part of both service prefixes. Of its addresses, the first
// reservedOffsets are for well-known Services.
const (
	serviceBits     = 20
	reservedOffsets = 256
)

// network says where the addresses of one family come from.
type network struct {
	family                  ipproto.Family
	services, pods, nodes   netip.Prefix
	vips, external, clients netip.Prefix
}

func networkOf(f ipproto.Family) network {
	prefix := netip.MustParsePrefix
	if f == ipproto.IPv4 {
		return network{
			family:   f,
			services: prefix("10.96.0.0/12"), pods: prefix("10.128.0.0/9"), nodes: prefix("172.18.0.0/16"),
			vips: prefix("198.18.0.0/16"), external: prefix("198.19.0.0/16"), clients: prefix("203.0.113.0/25"),
		}
	}
	return network{
		family:   f,
		services: prefix("fd00:10:96::/108"), pods: prefix("fd00:10:128::/48"), nodes: prefix("fd00:172:18::/64"),
		vips: prefix("2001:db8:18::/64"), external: prefix("2001:db8:19::/64"), clients: prefix("2001:db8:99::/64"),
	}
}

// node returns the address of a node.
func (n network) node(number int) netip.Addr { return at(n.nodes, uint64(number)+2) }

// podCIDR returns a node's pods: a prefix with a host part of hostBits in IPv4, a /64 in IPv6.
func (n network) podCIDR(node, hostBits int) netip.Prefix {
	if n.family == ipproto.IPv4 {
		return netip.PrefixFrom(at(n.pods, uint64(node)<<hostBits), 32-hostBits)
	}
	b := n.pods.Addr().As16()
	binary.BigEndian.PutUint16(b[6:], uint16(node))
	return netip.PrefixFrom(netip.AddrFrom16(b), 64)
}

// pod returns the address of a node's pod.
func (n network) pod(node, number, hostBits int) netip.Addr {
	return at(n.podCIDR(node, hostBits), uint64(number)+2)
}

// ownNode returns the first node.
func (n network) ownNode(hostBits int) model.Node {
	node := model.Node{
		Name: "node-0", Zone: zone(0), IP: n.node(0), PodCIDR: n.podCIDR(0, hostBits),
		Addrs: []netip.Addr{n.family.Loopback().Addr(), n.node(0)},
	}
	if n.family == ipproto.IPv4 {
		node.Addrs[0] = node.Addrs[0].Next() // 127.0.0.1
	}
	slices.SortFunc(node.Addrs, netip.Addr.Compare)
	return node
}

func zone(node int) string { return fmt.Sprintf("zone-%c", 'a'+node%3) }

// at returns the address at an offset into a prefix.
func at(p netip.Prefix, offset uint64) netip.Addr {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(offset))
		return netip.AddrFrom4(b)
	}
	b := p.Addr().As16()
	binary.BigEndian.PutUint64(b[8:], binary.BigEndian.Uint64(b[8:])+offset)
	return netip.AddrFrom16(b)
}

// permutation shuffles the host parts of the service prefix: a Feistel network, so that a million addresses
// are drawn without repetition and without a table of those already drawn.
type permutation [4]uint64

func newPermutation(seed uint64) permutation {
	r := rand.New(rand.NewPCG(seed, 0))
	return permutation{r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()}
}

// at returns the i-th drawn number, none of which is reserved.
func (p permutation) at(i int) uint64 {
	x := uint64(i) + reservedOffsets
	for {
		if x = p.shuffle(x); x >= reservedOffsets {
			return x // following the cycle back into the wanted range keeps the mapping one to one
		}
	}
}

func (p permutation) shuffle(x uint64) uint64 {
	const half, mask = serviceBits / 2, 1<<(serviceBits/2) - 1
	left, right := x>>half, x&mask
	for _, key := range p {
		mixed := (right ^ key) * 0x9e3779b97f4a7c15
		left, right = right, left^(mixed>>40&mask)
	}
	return left<<half | right
}
