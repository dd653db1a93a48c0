package bench

import (
	"fmt"
	"path/filepath"
	"strings"

	"espalier/test/bench/feed"
)

// Proxy is a program to measure.
type Proxy struct {
	Name string
	Argv []string // with placeholders: see Placeholders
}

// Placeholders are the words that are replaced in a command line, with their meaning.
func Placeholders() []string {
	return []string{
		"{kubeconfig}   the path of a kubeconfig file",
		"{node}         the name of the node",
		"{cluster-cidr} the address range of the pods",
		"{backend}      nft or legacy; what is called iptables is of this backend already",
	}
}

// Espalier returns the proxy of this program, of which self is the path.
func Espalier(self string) Proxy {
	return Proxy{Name: "espalier", Argv: []string{
		self, "run", "--kubeconfig", "{kubeconfig}", "--hostname-override", "{node}", "--cluster-cidr", "{cluster-cidr}",
		"--iptables-backend", "{backend}", "-v", "2",
		"--conntrack-max-per-core", "0", // the size of the table is the machine's, and cannot be set in a namespace
	}}
}

// ParsePeer reads a command line, separated by blanks: "kube-proxy --kubeconfig {kubeconfig}". The column is
// called like the program, or as the first word says: "nftables=kube-proxy --proxy-mode nftables".
func ParsePeer(text string) (Proxy, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return Proxy{}, fmt.Errorf("peer %q: want a command line", text)
	}
	name, program, named := strings.Cut(words[0], "=")
	if named && !strings.Contains(name, "/") {
		words[0] = program
	} else {
		name = filepath.Base(words[0])
	}
	if name == "" || words[0] == "" {
		return Proxy{}, fmt.Errorf("peer %q: want [NAME=]PROGRAM [ARGUMENT...]", text)
	}
	return Proxy{Name: name, Argv: words}, nil
}

// command returns the command line with everything filled in.
func (p Proxy) command(kubeconfig, backend string) []string {
	fill := strings.NewReplacer("{kubeconfig}", kubeconfig, "{node}", feed.NodeName, "{cluster-cidr}", feed.PodCIDR, "{backend}", backend)
	argv := make([]string, len(p.Argv))
	for i, a := range p.Argv {
		argv[i] = fill.Replace(a)
	}
	return argv
}
