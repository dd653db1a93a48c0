package config

import (
	"net/netip"
	"strings"

	"k8s.io/kube-proxy/config/v1alpha1"

	"espalier/proxier/ipproto"
	"espalier/watcher/convert"
)

func (l *Loaded) rules(p *problems) Rules {
	c := l.kube
	r := Rules{
		MasqueradeAll:      c.IPTables.MasqueradeAll,
		MasqueradeBit:      p.within("iptables.masqueradeBit (--iptables-masquerade-bit)", *c.IPTables.MasqueradeBit, 0, 31),
		LocalhostNodePorts: *c.IPTables.LocalhostNodePorts,
		NodePorts:          nodePorts(p, c.NodePortAddresses),
		Local:              local(p, c, l.clusterCIDRs),
		NoExternalIPs:      !l.gates.Enabled(allowServiceExternalIPs),
	}
	if ip, err := convert.ParseAddr(c.BindAddress); err != nil {
		p.add("bindAddress (--bind-address)", "%v", err)
	} else if !ip.IsUnspecified() {
		r.NodeIP = ip
	}
	return r
}

// nodePorts reads words and CIDRs. A word twice is an error, as it is in kube-proxy; a CIDR twice is not.
func nodePorts(p *problems, entries []string) NodePorts {
	const field = "nodePortAddresses (--nodeport-addresses)"
	var n NodePorts
	seen := map[string]bool{}
	for _, e := range entries {
		switch e {
		case "primary", "localhost", "all":
			if seen[e] {
				p.add(field, "%q is there twice", e)
			}
			seen[e] = true
		}
		switch e {
		case "primary":
			n.Primary = true
		case "localhost":
			n.CIDRs = append(n.CIDRs, ipproto.IPv4.Loopback(), ipproto.IPv6.Loopback())
		case "all":
			n.CIDRs = append(n.CIDRs, ipproto.IPv4.All(), ipproto.IPv6.All())
		default:
			prefix, err := convert.ParsePrefix(e)
			if err != nil {
				p.add(field, "%q is neither a CIDR like 192.168.0.0/24 nor one of the words primary, localhost, all", e)
				continue
			}
			n.CIDRs = append(n.CIDRs, prefix)
		}
	}
	return n
}

func local(p *problems, c v1alpha1.KubeProxyConfiguration, cidrs []string) Local {
	mode := LocalMode(c.DetectLocalMode)
	switch mode {
	case ClusterCIDR:
		return Local{Mode: mode, PodCIDRs: podCIDRs(p, cidrs)}
	case NodeCIDR:
		return Local{Mode: mode}
	case BridgeInterface:
		name := interfaceName(p, "detectLocal.bridgeInterface (--pod-bridge-interface)", c.DetectLocal.BridgeInterface)
		return Local{Mode: mode, Interface: name}
	case InterfaceNamePrefix:
		name := interfaceName(p, "detectLocal.interfaceNamePrefix (--pod-interface-name-prefix)", c.DetectLocal.InterfaceNamePrefix)
		if len(name) < maxInterfaceName { // longer than that no name can be
			name += "+"
		}
		return Local{Mode: mode, Interface: name}
	}
	p.add("detectLocalMode (--detect-local-mode)", "%q is unknown; want %s, %s, %s or %s",
		c.DetectLocalMode, ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix)
	return Local{}
}

// podCIDRs reads one CIDR, or one of each family. Nobody trims them: kube-proxy does not, either.
func podCIDRs(p *problems, texts []string) []netip.Prefix {
	const field = "clusterCIDR (--cluster-cidr)"
	var list []netip.Prefix
	for _, text := range texts {
		prefix, err := convert.ParsePrefix(text)
		switch {
		case err != nil && text == "" && len(texts) == 1:
			p.add(field, "it is given, but empty; leave it out, or give a CIDR like 10.244.0.0/16")
		case err != nil && strings.TrimSpace(text) != text:
			p.add(field, "%q has blanks around it, which must not be there", text)
		case err != nil:
			p.add(field, "%q is not a CIDR like 10.244.0.0/16", text)
		case Local{PodCIDRs: list}.PodCIDR(ipproto.FamilyOf(prefix.Addr())).IsValid():
			p.add(field, "%q is the second CIDR of its IP family; give one of each", text)
		default:
			list = append(list, prefix)
		}
	}
	return list
}

// maxInterfaceName is the kernel's limit (IFNAMSIZ, with the final NUL).
const maxInterfaceName = 15

// interfaceName checks what ends up behind -i.
func interfaceName(p *problems, field, name string) string {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"'\/+!`, r) }
	switch {
	case name == "":
		p.add(field, "needed by this detectLocalMode (--detect-local-mode)")
	case len(name) > maxInterfaceName || strings.ContainsFunc(name, bad):
		p.add(field, "%q is not the name of a network interface", name)
	}
	return name
}
