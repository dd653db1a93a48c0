package plugins

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
	"espalier/test/netns/lab"
)

// Set is an ipset. Its type is hash:net if it has prefixes, else hash:ip.
type Set struct {
	Name     string
	Prefixes []netip.Prefix
	Addrs    []netip.Addr
	Nets     bool // hash:net also where it has no prefix
}

// put creates the set, if it is not there, and fills it anew.
func (s Set) put(ns *lab.Namespace, f ipproto.Family) error {
	err := ns.Do(func() error {
		kind, family := "hash:ip", uint8(unix.AF_INET)
		if s.Nets || len(s.Prefixes) > 0 {
			kind = "hash:net"
		}
		if f == ipproto.IPv6 {
			family = unix.AF_INET6
		}
		if err := netlink.IpsetCreate(s.Name, kind, netlink.IpsetCreateOptions{Family: family, Replace: true}); err != nil {
			return err
		}
		if err := netlink.IpsetFlush(s.Name); err != nil {
			return err
		}
		for _, p := range s.Prefixes {
			if err := netlink.IpsetAdd(s.Name, &netlink.IPSetEntry{IP: p.Addr().AsSlice(), CIDR: uint8(p.Bits()), Replace: true}); err != nil {
				return err
			}
		}
		for _, a := range s.Addrs {
			if err := netlink.IpsetAdd(s.Name, &netlink.IPSetEntry{IP: a.AsSlice(), Replace: true}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make set %s: %w", s.Name, err)
	}
	return nil
}

// destroy removes the set, if it is there.
func (s Set) destroy(ns *lab.Namespace) error {
	err := ns.Do(func() error { return netlink.IpsetDestroy(s.Name) })
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, nl.IPSetError(nl.IPSET_ERR_EXIST)) {
		return fmt.Errorf("destroy set %s: %w", s.Name, err)
	}
	return nil
}

// Sysctl is a kernel parameter, named by its path below /proc/sys/net.
type Sysctl struct{ Path, Value string }

// Ruling is a rule of routing: what carries the mark is routed by a table, in which everything is local.
type Ruling struct {
	Priority, Table int
	Mark, Mask      uint32
}

func (r Ruling) rule(f ipproto.Family) *netlink.Rule {
	rule := netlink.NewRule()
	rule.Priority, rule.Table, rule.Mark, rule.Mask, rule.Family = r.Priority, r.Table, r.Mark, &r.Mask, family(f)
	return rule
}

func family(f ipproto.Family) int {
	if f == ipproto.IPv6 {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}

func (r Ruling) put(ns *lab.Namespace, f ipproto.Family) error {
	err := ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		everything := netlink.NewIPNet(f.All().Addr().AsSlice())
		everything.Mask = make([]byte, len(everything.Mask))
		local := &netlink.Route{Dst: everything, LinkIndex: lo.Attrs().Index, Table: r.Table, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST}
		if err := netlink.RouteReplace(local); err != nil {
			return err
		}
		if err := netlink.RuleAdd(r.rule(f)); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("route what has mark %#x by table %d: %w", r.Mark, r.Table, err)
	}
	return nil
}

func (r Ruling) remove(ns *lab.Namespace, f ipproto.Family) error {
	err := ns.Do(func() error {
		if err := netlink.RuleDel(r.rule(f)); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		routes, err := netlink.RouteListFiltered(family(f), &netlink.Route{Table: r.Table}, netlink.RT_FILTER_TABLE)
		for _, route := range routes {
			err = errors.Join(err, netlink.RouteDel(&route))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("no longer route what has mark %#x by table %d: %w", r.Mark, r.Table, err)
	}
	return nil
}
