package convert

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"espalier/proxier/ipproto"
)

// externalIPs reads spec.externalIPs, of both families.
func (r *report) externalIPs(texts []string) []netip.Addr {
	var ips []netip.Addr
	for i, text := range texts {
		if text == "" {
			continue
		}
		field := indexed("spec.externalIPs[%d]", i)
		ip, err := ParseAddr(text)
		if err != nil {
			r.add(field, "%v; it is left out", err)
			continue
		}
		if what := special(ip); what != "" {
			r.add(field, "%v is %s; it is left out", ip, what)
			continue
		}
		ips = append(ips, ip)
	}
	return ips
}

// vips reads the addresses of status.loadBalancer.ingress, of both families, that packets arrive with: a load
// balancer of ipMode Proxy sends them to the node's own address instead (KEP-1860). Whether the Service is of
// type LoadBalancer does not matter.
func (r *report) vips(ingress []corev1.LoadBalancerIngress) []netip.Addr {
	var ips []netip.Addr
	for i, in := range ingress {
		if in.IP == "" {
			continue
		}
		field := indexed("status.loadBalancer.ingress[%d]", i)
		if in.IPMode != nil && *in.IPMode != corev1.LoadBalancerIPModeVIP {
			if *in.IPMode != corev1.LoadBalancerIPModeProxy {
				r.add(field+".ipMode", "%q is unknown; the address is left out", clip(string(*in.IPMode)))
			}
			continue
		}
		ip, err := ParseAddr(in.IP)
		if err != nil {
			r.add(field+".ip", "%v; it is left out", err)
			continue
		}
		if ip.IsUnspecified() || ip.IsMulticast() {
			r.add(field+".ip", "%v is %s; it is left out", ip, special(ip))
			continue
		}
		ips = append(ips, ip)
	}
	return ips
}

// sourceRanges are spec.loadBalancerSourceRanges of both families.
type sourceRanges struct {
	prefixes   []netip.Prefix
	unreadable bool // at least one entry is not a CIDR
}

func (r *report) sourceRanges(texts []string) sourceRanges {
	var ranges sourceRanges
	for i, text := range texts {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		prefix, err := ParsePrefix(text)
		if err != nil {
			r.add(indexed("spec.loadBalancerSourceRanges[%d]", i), "%v; it is left out", err)
			ranges.unreadable = true
			continue
		}
		ranges.prefixes = append(ranges.prefixes, prefix)
	}
	return ranges
}

// of returns the ranges of one family; none: everybody is admitted. A range that contains all addresses makes
// the others pointless.
//
// closed: the family has no range, but there is one that could not be read and may have been of this family.
// Then nobody can be admitted: a typing error must not open what was meant to be restricted.
func (s sourceRanges) of(f ipproto.Family) (prefixes []netip.Prefix, closed bool) {
	for _, p := range s.prefixes {
		if ipproto.FamilyOf(p.Addr()) != f {
			continue
		}
		if p.Bits() == 0 {
			return nil, false
		}
		if !slices.Contains(prefixes, p) {
			prefixes = append(prefixes, p)
		}
	}
	return prefixes, len(prefixes) == 0 && s.unreadable
}

// ofFamily returns the addresses of one family, each once, in order.
func ofFamily(f ipproto.Family, addrs []netip.Addr) []netip.Addr {
	var kept []netip.Addr
	for _, a := range addrs {
		if ipproto.FamilyOf(a) == f && !slices.Contains(kept, a) {
			kept = append(kept, a)
		}
	}
	return kept
}

// indexed returns the path of a list's element: indexed("spec.ports[%d]", 2) is spec.ports[2]. A path without
// a verb is returned as it is.
func indexed(path string, i int) string {
	if !strings.Contains(path, "%d") {
		return path
	}
	return fmt.Sprintf(path, i)
}
