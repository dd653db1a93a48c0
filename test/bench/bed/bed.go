package bed

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"espalier/proxier/ipproto"
	"espalier/test/netns/lab"
)

// Config says what is where.
type Config struct {
	NodeIP netip.Addr
	// Services is where cluster IPs are: connections to them are refused at once unless a rule takes them.
	Services netip.Prefix
	// Endpoints are prefixes of which every address answers on Ports.
	Endpoints []netip.Prefix
	// Client is the client's address, within the prefix of the pods.
	Client netip.Addr
	// Ports must not be those of Services.
	Ports []uint16
	// Backend is what "iptables" means on the node: nft or legacy.
	Backend string
	// Log is the beginning of the paths of the files to which programs log. Empty: they vanish with the bed.
	Log string
}

// Bed is a node and its surroundings.
type Bed struct {
	Config

	lab *lab.Lab
	dir string // of files for programs on the node
	api *http.Server

	started int // programs
}

// New builds a bed. Close removes it; so does the end of the process, however it comes.
func New(c Config) (*Bed, error) {
	dir, err := os.MkdirTemp("", "espalier-bench-")
	if err != nil {
		return nil, err
	}
	b := &Bed{Config: c, dir: dir}
	if b.Log == "" {
		b.Log = filepath.Join(dir, "program")
	}
	if err := b.build(); err != nil {
		b.Close()
		return nil, fmt.Errorf("build test bed: %w", err)
	}
	return b, nil
}

func (b *Bed) build() (err error) {
	b.lab, err = lab.New(lab.Config{
		Family: ipproto.IPv4,
		Node:   []netip.Addr{b.NodeIP},
		Routes: map[lab.Host][]netip.Prefix{
			lab.Endpoints: b.Endpoints,
			lab.Pod:       {netip.PrefixFrom(b.Client, b.Client.BitLen())},
		},
		Ports: b.Ports,
	})
	if err != nil {
		return err
	}
	// Without a rule, the client hears at once that there is nobody: by a TCP reset, which is not limited in number
	// as ICMP messages are, from a host on which no Service port is open.
	if _, err := b.lab.Host(lab.World).Command(nil, "ip", "route", "add", "local", b.Services.String(), "dev", "lo"); err != nil {
		return err
	}
	return b.linkTools()
}

// linkTools makes a directory in which iptables is the wanted one, as alternatives do on a node.
func (b *Bed) linkTools() error {
	if err := os.Mkdir(b.bin(), 0o755); err != nil {
		return err
	}
	for _, family := range []string{"iptables", "ip6tables"} {
		for _, action := range []string{"", "-save", "-restore"} {
			real, err := exec.LookPath(family + "-" + b.Backend + action)
			if err != nil {
				return fmt.Errorf("find the iptables backend: %w", err)
			}
			// The programs look at the name by which they are called, so the link must not lead to another link.
			if real, err = filepath.EvalSymlinks(real); err != nil {
				return err
			}
			if err := os.Symlink(real, filepath.Join(b.bin(), family+action)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Bed) bin() string { return filepath.Join(b.dir, "bin") }

// environment is that of programs on the node: with the wanted iptables, and with a lock that is not the machine's.
func (b *Bed) environment() []string {
	return append(os.Environ(),
		"PATH="+b.bin()+":"+os.Getenv("PATH")+":/usr/sbin:/sbin",
		"XTABLES_LOCKFILE="+filepath.Join(b.dir, "xtables.lock"),
	)
}

// Close removes the bed.
func (b *Bed) Close() {
	if b.api != nil {
		_ = b.api.Close() // nobody asks any more
	}
	if b.lab != nil {
		b.lab.Close()
	}
	_ = os.RemoveAll(b.dir) // left in the directory for temporary files
}

// ServeAPI answers on a port of the node's 127.0.0.1, and returns the path of a kubeconfig file that leads there.
func (b *Bed) ServeAPI(h http.Handler) (kubeconfig string, err error) {
	var listener net.Listener
	err = b.node().Do(func() error {
		listener, err = net.Listen("tcp4", "127.0.0.1:0")
		return err
	})
	if err != nil {
		return "", fmt.Errorf("listen on the node: %w", err)
	}
	b.api = &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = b.api.Serve(listener) }() // until Close
	kubeconfig = filepath.Join(b.dir, "kubeconfig")
	text := fmt.Sprintf(kubeconfigText, listener.Addr())
	return kubeconfig, os.WriteFile(kubeconfig, []byte(text), 0o600)
}

const kubeconfigText = `apiVersion: v1
kind: Config
clusters:
- name: bench
  cluster: {server: "http://%s"}
users:
- name: bench
contexts:
- name: bench
  context: {cluster: bench, user: bench}
current-context: bench
`

func (b *Bed) node() *lab.Namespace { return b.lab.Host(lab.Node) }

// Iptables runs iptables on the node.
func (b *Bed) Iptables(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "iptables-"+b.Backend, args...)
	cmd.Env = b.environment()
	var said strings.Builder
	cmd.Stderr = &said
	if err := b.node().Do(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("iptables-%s %s: %w: %s", b.Backend, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return nil
}
