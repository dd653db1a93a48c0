package controlplane

import (
	"path/filepath"
	"strings"
)

// component is one of the four programs, in the order in which they are started.
type component string

const (
	etcd       component = "etcd"
	apiServer  component = "kube-apiserver"
	controller component = "kube-controller-manager"
	scheduler  component = "kube-scheduler"
)

var components = []component{etcd, apiServer, controller, scheduler}

const (
	etcdClients = "http://127.0.0.1:2379"
	etcdPeers   = "http://127.0.0.1:2380"
)

// arguments returns the command line of a component.
func (p *Plane) arguments(c component) []string {
	file := func(name string) string { return filepath.Join(p.config.Dir, name) }
	switch c {
	case etcd:
		return []string{
			"--name=e2e", "--data-dir=" + file("etcd"), "--log-level=warn",
			"--unsafe-no-fsync", // it lives on a tmpfs, and not for long
			"--listen-client-urls=" + etcdClients, "--advertise-client-urls=" + etcdClients,
			"--listen-peer-urls=" + etcdPeers, "--initial-advertise-peer-urls=" + etcdPeers,
			"--initial-cluster=e2e=" + etcdPeers,
		}
	case apiServer:
		return []string{
			"--etcd-servers=" + etcdClients, "--bind-address=::", "--secure-port=6443",
			"--advertise-address=" + p.config.Addrs[0].String(),
			"--service-cluster-ip-range=" + ServiceCIDRs,
			"--authorization-mode=RBAC", "--anonymous-auth=false", "--allow-privileged",
			"--client-ca-file=" + file("ca.crt"),
			"--tls-cert-file=" + file("server.crt"), "--tls-private-key-file=" + file("server.key"),
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + file("accounts.pub"),
			"--service-account-signing-key-file=" + file("accounts.key"),
			"--delete-collection-workers=8", // for thousands of Services
			"--v=1",
		}
	case controller:
		return append(p.client(c),
			"--allocate-node-cidrs", "--cluster-cidr="+PodCIDRs, "--service-cluster-ip-range="+ServiceCIDRs,
			"--node-cidr-mask-size-ipv4=24", "--node-cidr-mask-size-ipv6=64",
			// Not that of Endpoints, which nobody here reads: three objects for a Service are enough.
			"--controllers=*,-endpoints-controller",
			"--use-service-account-credentials", // each controller has the rights of its role, and no more
			"--root-ca-file="+file("ca.crt"), "--service-account-private-key-file="+file("accounts.key"),
			// Longer than any test takes the API server away: agents say that a Node is ready when they start, and no more.
			"--node-monitor-grace-period=5m",
			"--concurrent-service-endpoint-syncs=10", "--kube-api-qps=500", "--kube-api-burst=500",
		)
	case scheduler:
		return p.client(c)
	}
	return nil
}

// client returns what the two clients of the API server have in common.
func (p *Plane) client(c component) []string {
	kubeconfig := filepath.Join(p.config.Dir, string(c)+".kubeconfig")
	return strings.Fields("--bind-address=127.0.0.1 --leader-elect=false --v=1" +
		" --kubeconfig=" + kubeconfig +
		" --authentication-kubeconfig=" + kubeconfig +
		" --authorization-kubeconfig=" + kubeconfig)
}
