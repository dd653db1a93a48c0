package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/plan"
)

// dataPlane are the flags that decide about rules. Names and meaning are kube-proxy's.
type dataPlane struct {
	clusterCIDRs       []string
	detectLocalMode    string
	bridgeInterface    string
	interfacePrefix    string
	masqueradeAll      bool
	masqueradeBit      int32
	localhostNodePorts bool
	nodePortAddresses  []string
	bindAddress        string

	// What validate makes of them.
	podCIDRs  []netip.Prefix
	nodePorts nodePortAddresses
	nodeIP    netip.Addr
}

// The ways to recognise traffic of local pods.
const (
	detectClusterCIDR     = "ClusterCIDR"
	detectNodeCIDR        = "NodeCIDR"
	detectBridge          = "BridgeInterface"
	detectInterfacePrefix = "InterfaceNamePrefix"
)

func (d *dataPlane) addFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&d.clusterCIDRs, "cluster-cidr", nil,
		"The address range of the pods, or one of each IP family separated by a comma. Traffic to a cluster IP from outside of it is masqueraded.")
	fs.StringVar(&d.detectLocalMode, "detect-local-mode", detectClusterCIDR,
		"How traffic of this node's pods is recognised: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix.")
	fs.StringVar(&d.bridgeInterface, "pod-bridge-interface", "",
		"The bridge that this node's pods are connected to, for --detect-local-mode=BridgeInterface.")
	fs.StringVar(&d.interfacePrefix, "pod-interface-name-prefix", "",
		"What the names of this node's pod interfaces begin with, for --detect-local-mode=InterfaceNamePrefix.")
	fs.BoolVar(&d.masqueradeAll, "masquerade-all", false,
		"Masquerade all traffic to cluster IPs.")
	fs.Int32Var(&d.masqueradeBit, "iptables-masquerade-bit", 14,
		"The bit of the packet mark, 0 to 31, that stands for masquerading.")
	fs.BoolVar(&d.localhostNodePorts, "iptables-localhost-nodeports", true,
		"Let node ports answer on 127.0.0.0/8 too, which sets the sysctl net.ipv4.conf.all.route_localnet. IPv4 only.")
	fs.StringSliceVar(&d.nodePortAddresses, "nodeport-addresses", nil,
		"Where node ports answer: a list of CIDRs and of the words primary, localhost and all. Empty: on all addresses.")
	fs.StringVar(&d.bindAddress, "bind-address", "0.0.0.0",
		"The node's address, where it is not the one of the Node object. It is only used to tell whether the node itself is within a load balancer's source ranges, and for --nodeport-addresses=primary; nothing is bound to it.")
}

// validate checks the flags and prepares their values. It returns all errors at once.
func (d *dataPlane) validate() error {
	var errs []error
	for _, s := range d.clusterCIDRs {
		if s == "" {
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("--cluster-cidr: %q is not a CIDR like 10.244.0.0/16", s))
			continue
		}
		if slices.ContainsFunc(d.podCIDRs, func(o netip.Prefix) bool { return o.Addr().Is4() == p.Addr().Is4() }) {
			errs = append(errs, fmt.Errorf("--cluster-cidr: %q is the second CIDR of its IP family; give one of each", s))
		}
		d.podCIDRs = append(d.podCIDRs, p.Masked())
	}
	errs = append(errs, d.validateDetector())
	if d.masqueradeBit < 0 || d.masqueradeBit > 31 {
		errs = append(errs, fmt.Errorf("--iptables-masquerade-bit: %d is not between 0 and 31", d.masqueradeBit))
	}
	var err error
	if d.nodePorts, err = parseNodePortAddresses(d.nodePortAddresses); err != nil {
		errs = append(errs, fmt.Errorf("--nodeport-addresses: %w", err))
	}
	if d.bindAddress != "" {
		a, err := netip.ParseAddr(d.bindAddress)
		if err != nil {
			errs = append(errs, fmt.Errorf("--bind-address: %q is not an IP address", d.bindAddress))
		} else if !a.IsUnspecified() {
			d.nodeIP = a.Unmap()
		}
	}
	return errors.Join(errs...)
}

func (d *dataPlane) validateDetector() error {
	switch d.detectLocalMode {
	case "", detectClusterCIDR, detectNodeCIDR:
		return nil
	case detectBridge:
		return interfaceName("--pod-bridge-interface", d.bridgeInterface)
	case detectInterfacePrefix:
		return interfaceName("--pod-interface-name-prefix", d.interfacePrefix)
	}
	return fmt.Errorf("--detect-local-mode: %q is unknown; want ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix", d.detectLocalMode)
}

// interfaceName checks what ends up behind -i; the kernel's limit is 15 bytes (IFNAMSIZ with the final NUL).
func interfaceName(flag, name string) error {
	bad := func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"'\/+!`, r) }
	switch {
	case name == "":
		return fmt.Errorf("%s: needed by this --detect-local-mode", flag)
	case len(name) > 15 || strings.ContainsFunc(name, bad):
		return fmt.Errorf("%s: %q is not the name of a network interface", flag, name)
	}
	return nil
}

// config returns what the rules of one family depend on beside the cluster. It changes with the node's
// addresses and pod CIDRs, so it is asked before each plan.
func (d *dataPlane) config(n model.Node, f ipproto.Family, k kernelFacts) (plan.Config, error) {
	cfg := plan.Config{
		MasqueradeAll:      d.masqueradeAll,
		MasqueradeMark:     1 << d.masqueradeBit,
		NodePortAddresses:  d.nodePorts.prefixes(f, n.IP),
		LocalhostNodePorts: d.localhostNodePorts,
		DropInvalid:        !k.liberal,
		NoHairpinMatch:     k.noHairpinMatch,
		Lacks:              k.lacks,
		CountInvalid:       k.countInvalid,
		CountLocalhost:     k.countLocalhost,
	}
	switch d.detectLocalMode {
	case detectNodeCIDR:
		if !n.PodCIDR.IsValid() && f == ipproto.FamilyOf(n.IP) {
			return cfg, fmt.Errorf("node %q has no %s pod CIDR yet, which --detect-local-mode=NodeCIDR needs: is the node's spec.podCIDRs set, and is --hostname-override right?", n.Name, f)
		}
		cfg.Detector.PodCIDR = n.PodCIDR
	case detectBridge:
		cfg.Detector.Interface = d.bridgeInterface
	case detectInterfacePrefix:
		cfg.Detector.Interface = d.interfacePrefix + "+"
	default:
		for _, p := range d.podCIDRs {
			if ipproto.FamilyOf(p.Addr()) == f {
				cfg.Detector.PodCIDR = p
			}
		}
	}
	return cfg, nil
}

// node returns the node as the rules see it: --bind-address wins over the Node object.
func (d *dataPlane) node(n model.Node, f ipproto.Family) model.Node {
	if ipproto.FamilyOf(d.nodeIP) == f {
		n.IP = d.nodeIP
	}
	return n
}

// settings completes the node with what this machine knows of itself, and says how to plan for it.
func (d *dataPlane) settings(n model.Node, f ipproto.Family, k kernelFacts) (model.Node, plan.Config, error) {
	n = d.node(n, f)
	cfg, err := d.config(n, f, k)
	if err == nil && !cfg.EveryAddress() {
		n.Addrs, err = interfaceAddrs(f)
	}
	return n, cfg, err
}

// kernelFacts are what the rules depend on that only the running kernel knows.
type kernelFacts struct {
	liberal        bool // nf_conntrack_tcp_be_liberal is set
	noHairpinMatch bool // xt_bpf cannot be loaded
	lacks          plan.Lacks
	// The nfacct objects of these rules exist.
	countInvalid, countLocalhost bool
}

// conntrackLiberal reports whether conntrack accepts what it finds invalid. Where the sysctl cannot be read,
// it does not.
func conntrackLiberal() bool {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal")
	return err == nil && strings.TrimSpace(string(text)) != "0"
}
