package netns

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"espalier/proxier/ipproto"
)

// The tables are written in IPv4. These are the addresses and prefixes that have a counterpart of their own in
// IPv6; six computes the others.
var (
	sixAddrs = map[string]string{
		"127.0.0.1":     "::1",
		"192.168.0.2":   "2001:db8::1",
		"192.168.1.2":   "2001:db8:1::2",
		"203.0.113.2":   "2600:5200::1",
		"203.0.113.130": "2600:5200:0:1::130",
	}
	sixPrefixes = map[string]string{
		"0.0.0.0/0":        "::/0",
		"127.0.0.0/8":      "::1/128",
		"10.0.0.0/8":       "fd00:10::/32", // pods and endpoints alike
		"10.1.0.0/16":      "fd00:10:1::/48",
		"10.180.0.0/16":    "fd00:10:180::/48",
		"10.0.1.0/24":      "fd00:10::1:0/112",
		"192.168.0.0/24":   "2001:db8::/64",
		"192.168.1.0/24":   "2001:db8:1::/64",
		"203.0.113.0/25":   "2600:5200::/64",
		"203.0.113.128/25": "2600:5200:0:1::/64",
	}
)

// six returns the IPv6 counterpart of an IPv4 address: 10.180.2.1 is fd00:10:180::2:1 and 172.30.0.41 is
// fd00:172:30::41.
func six(a netip.Addr) netip.Addr {
	if !a.Is4() {
		return a
	}
	if text, ok := sixAddrs[a.String()]; ok {
		return netip.MustParseAddr(text)
	}
	b := a.As4()
	switch {
	case b[0] == 10:
		return netip.MustParseAddr(fmt.Sprintf("fd00:10:%d::%d:%d", b[1], b[2], b[3]))
	case b[0] == 172:
		return netip.MustParseAddr(fmt.Sprintf("fd00:172:%d:%d::%d", b[1], b[2], b[3]))
	}
	return netip.MustParseAddr(fmt.Sprintf("2600:%d:%d:%d::%d", b[0], b[1], b[2], b[3]))
}

func sixPrefix(p netip.Prefix) netip.Prefix {
	if !p.Addr().Is4() {
		return p
	}
	if text, ok := sixPrefixes[p.String()]; ok {
		return netip.MustParsePrefix(text)
	}
	if !p.IsSingleIP() {
		panic("no IPv6 counterpart for " + p.String())
	}
	return netip.PrefixFrom(six(p.Addr()), 128)
}

var (
	ipv4Text   = regexp.MustCompile(`\b\d+\.\d+\.\d+\.\d+(/\d+)?\b`)
	familyText = regexp.MustCompile(`\bIPv4\b`)
)

// sixText turns manifests for IPv4 into manifests for IPv6.
func sixText(manifests string) string {
	manifests = ipv4Text.ReplaceAllStringFunc(manifests, func(s string) string {
		if strings.Contains(s, "/") {
			return sixPrefix(netip.MustParsePrefix(s)).String()
		}
		return six(netip.MustParseAddr(s)).String()
	})
	return familyText.ReplaceAllString(manifests, "IPv6")
}

// in returns an address of the tables as the family has it.
func in(f ipproto.Family, a netip.Addr) netip.Addr {
	if f == ipproto.IPv6 {
		return six(a)
	}
	return a
}

func prefixIn(f ipproto.Family, p netip.Prefix) netip.Prefix {
	if f == ipproto.IPv6 {
		return sixPrefix(p)
	}
	return p
}

func portIn(f ipproto.Family, ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(in(f, ap.Addr()), ap.Port())
}
