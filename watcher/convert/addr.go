package convert

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"espalier/proxier/ipproto"
)

// ParseAddr reads an IP address as Kubernetes always did: zeros in front of an IPv4 number do not make it octal,
// so 172.30.0.041 is 172.30.0.41. Old objects may hold such addresses, and Go's own parser refuses them since
// CVE-2021-29923. An IPv4 address mapped into IPv6 is returned as IPv4. Zones are refused.
func ParseAddr(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(dropLeadingZeros(s))
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", clip(s))
	}
	return addr.Unmap(), nil
}

// ParsePrefix reads a CIDR, as tolerantly as ParseAddr: 203.0.113.000/025 is 203.0.113.0/25. Bits behind the
// prefix are cleared: 1.2.3.4/28 is 1.2.3.0/28.
func ParsePrefix(s string) (netip.Prefix, error) {
	ip, length, _ := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(dropLeadingZeros(ip))
	bits, ok := parseBits(length)
	if err != nil || addr.Zone() != "" || !ok {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR", clip(s))
	}
	if addr.Is4In6() && bits >= 96 {
		addr, bits = addr.Unmap(), bits-96
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a CIDR", clip(s))
	}
	return prefix, nil
}

// parseBits reads a prefix length: digits only, so no sign.
func parseBits(s string) (int, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// dropLeadingZeros rewrites the dotted part of an address, if it has one, with numbers as netip wants them.
func dropLeadingZeros(s string) string {
	start := strings.LastIndexByte(s, ':') + 1
	if !strings.Contains(s[start:], ".") || !strings.Contains(s[start:], "0") {
		return s
	}
	numbers := strings.Split(s[start:], ".")
	for i, n := range numbers {
		if trimmed := strings.TrimLeft(n, "0"); trimmed != "" {
			numbers[i] = trimmed
		} else if n != "" {
			numbers[i] = "0"
		}
	}
	return s[:start] + strings.Join(numbers, ".")
}

// clip shortens foreign text for a message.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// special says why an address cannot be that of a workload; empty: it can. The API server refuses the same
// addresses, because an endpoint on them would let a user reach what only the node itself may reach
// (CVE-2021-25737).
func special(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsLinkLocalUnicast():
		return "a link-local address"
	case a.IsMulticast():
		return "a multicast address"
	}
	return ""
}

// familyName spells a family for a message.
func familyName(f ipproto.Family) string {
	switch f {
	case ipproto.IPv4:
		return "IPv4"
	case ipproto.IPv6:
		return "IPv6"
	}
	return "IP"
}
