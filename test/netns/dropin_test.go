package netns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
	"espalier/watcher/kube/kubetest"
)

// TestDropIn puts the program where kube-proxy was: its name, its configuration file, its privileges.
func TestDropIn(t *testing.T) {
	needNamespaces(t)
	if _, err := iptables.Open(t.Context(), ipproto.IPv4, iptables.NFT); err != nil {
		cannot(t, err.Error())
	}
	path := build(t, "kube-proxy")
	for _, part := range []struct {
		name string
		test func(*testing.T, *dropIn)
	}{
		{"kubeadm's ConfigMap", dropInKubeadm},
		{"a changed file ends it", dropInChangedFile},
		{"external IPs switched off", dropInNoExternalIPs},
		{"after the nftables mode", dropInAfterNFTables},
		{"cleaning up after the ipvs mode", dropInAfterIPVS},
		{"gates of the client", dropInClientGates},
		{"read-only sysctls", dropInReadOnly},
		{"a node without IPv6", dropInWithoutIPv6},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, newDropIn(t, path)) })
	}
}

// dropIn is a site with an API server on the loopback interface of its node.
type dropIn struct {
	*site
	server             *kubetest.Server
	config, kubeconfig string
}

func newDropIn(t *testing.T, path string) *dropIn {
	t.Helper()
	d := &dropIn{site: newSite(t, iptables.NFT, path)}
	var server *kubetest.Server
	err := d.Host(lab.Node).Do(func() error { // the socket belongs to the namespace of the thread
		server = kubetest.Start()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	d.server = server
	name, protocol, port := "http", corev1.ProtocolTCP, int32(80)
	server.Apply(
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: nodeName}, Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.0.2"}}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{
			ClusterIP: "172.30.0.41", ExternalIPs: []string{"192.168.99.11"},
			Ports: []corev1.ServicePort{{Name: name, Protocol: protocol, Port: 80}}}},
		&discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Ports:       []discoveryv1.EndpointPort{{Name: &name, Protocol: &protocol, Port: &port}},
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.180.0.1"}}},
		})
	dir := t.TempDir()
	d.config, d.kubeconfig = filepath.Join(dir, "config.conf"), filepath.Join(dir, "kubeconfig.conf")
	d.write(t, d.kubeconfig, fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"+
		"clusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u, user: {}}]\n", server.URL))
	return d
}

func (d *dropIn) write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// kubeadm is what kubeadm 1.37 writes, but for the path of the kubeconfig, and for maxPerCore, which is null there: the
// size of the conntrack table is the machine's, and cannot be set in a namespace.
func (d *dropIn) kubeadm() string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection: {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: %s, qps: 0}
clusterCIDR: 10.180.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: 0, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
kind: KubeProxyConfiguration
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: iptables
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
`, d.kubeconfig)
}

// follow starts it as kubeadm's DaemonSet does, and waits until the rules are there.
func (d *dropIn) follow(t *testing.T, flags ...string) {
	t.Helper()
	d.exec(t, append([]string{d.program, "--config=" + d.config, "--hostname-override=" + strings.ToUpper(nodeName)}, flags...)...)
	d.awaitLog(t, `"Synced" family="ipv4"`, `"Synced" family="ipv6"`)
}

// rules are those of the nat table, as text.
func (d *dropIn) rules(t *testing.T) string {
	t.Helper()
	out, err := d.Host(lab.Node).Command(strings.NewReader(""), "iptables-nft-save", "-t", "nat")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (d *dropIn) sysctls(t *testing.T, want map[string]string) {
	t.Helper()
	for path, value := range want {
		if got, err := d.Host(lab.Node).ReadSysctl(path); got != value || err != nil {
			t.Errorf("net/%s is %q (error %v), want %q", path, got, err, value)
		}
	}
}

// ended waits for its end, and returns its exit status and log.
func (d *dropIn) ended(t *testing.T) (int, string) {
	t.Helper()
	p := d.running
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("it does not end; its log:\n%s", &p.log)
	}
	d.running = nil
	return p.cmd.ProcessState.ExitCode(), p.log.String()
}

const (
	established = "netfilter/nf_conntrack_tcp_timeout_established"
	closeWait   = "netfilter/nf_conntrack_tcp_timeout_close_wait"
	localnet    = "ipv4/conf/all/route_localnet"
)

func dropInKubeadm(t *testing.T, d *dropIn) {
	d.write(t, d.config, d.kubeadm())
	d.follow(t)
	rules := d.rules(t)
	for _, rule := range []string{
		"-A KUBE-SERVICES ! -s 10.180.0.0/16 -d 172.30.0.41/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ\n",
		"-A KUBE-SERVICES -d 192.168.99.11/32 -p tcp -m comment --comment \"shop/web:http external IP\"",
	} {
		if !strings.Contains(rules, rule) {
			t.Errorf("there is no rule %q in:\n%s", rule, rules)
		}
	}
	d.eventually(t, patience, func() string { // after the first sync
		if got, _ := d.Host(lab.Node).ReadSysctl(localnet); got != "1" {
			return "route_localnet is " + got
		}
		return ""
	})
	d.sysctls(t, map[string]string{established: "86400", closeWait: "3600"})
	log := d.running.log.String()
	if strings.Contains(log, "no effect") || strings.Contains(log, "ignored") {
		t.Errorf("it complains about kubeadm's file:\n%s", log)
	}
	p := d.running
	d.stop(t)
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d after SIGTERM, want 0", code)
	}
	if after := d.rules(t); !strings.Contains(after, "shop/web:http cluster IP") {
		t.Errorf("the rules are gone:\n%s", after)
	}
}

func dropInChangedFile(t *testing.T, d *dropIn) {
	d.write(t, d.config, d.kubeadm())
	d.follow(t)
	d.write(t, d.config, d.kubeadm()+"# a comment\n")
	if code, log := d.ended(t); code != 1 || !strings.Contains(log, "configuration file has changed") {
		t.Errorf("exit status %d, want 1, and a word about the file in the log:\n%s", code, log)
	}
}

func dropInNoExternalIPs(t *testing.T, d *dropIn) {
	d.write(t, d.config, d.kubeadm()+"featureGates: {AllowServiceExternalIPs: false}\n")
	d.follow(t)
	if rules := d.rules(t); strings.Contains(rules, "192.168.99.11") || !strings.Contains(rules, "172.30.0.41") {
		t.Errorf("want rules for the cluster IP and none for the external IP:\n%s", rules)
	}
}

// dropInAfterNFTables finds the tables of kube-proxy's nftables mode.
func dropInAfterNFTables(t *testing.T, d *dropIn) {
	d.write(t, d.config, d.kubeadm())
	tables := func() string {
		out, err := d.Host(lab.Node).Command(strings.NewReader(""), "nft", "list", "tables")
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	const made = "add table ip kube-proxy\nadd table ip6 kube-proxy\nadd table inet kube-proxy\n"
	d.on(t, made, "nft", "-f", "-")
	d.follow(t)
	d.awaitLog(t, "mode nftables")
	if left := tables(); strings.Contains(left, "table ip kube-proxy") || strings.Contains(left, "ip6 kube-proxy") || !strings.Contains(left, "inet kube-proxy") {
		t.Errorf("want the table of somebody else alone:\n%s", left)
	}
	d.stop(t)
	d.on(t, made, "nft", "-f", "-")
	d.exec(t, d.program, "--config="+d.config, "--cleanup")
	if code, log := d.ended(t); code != 0 || !strings.Contains(log, "removed table ip kube-proxy") {
		t.Errorf("--cleanup: exit status %d, want 0, and a word about the table:\n%s", code, log)
	}
	if left := tables(); strings.Contains(left, "table ip kube-proxy") || !strings.Contains(left, "inet kube-proxy") {
		t.Errorf("after --cleanup, want the table of somebody else alone:\n%s", left)
	}
	if rules := d.rules(t); strings.Contains(rules, "KUBE-SERVICES") {
		t.Errorf("--cleanup left rules:\n%s", rules)
	}
}

// ipvsRules are what kube-proxy's mode ipvs has in iptables for a Service with source ranges and node ports (kubernetes:
// pkg/proxy/ipvs/proxier.go), between rules of somebody else.
const ipvsRules = `*filter
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-IPVS-FILTER - [0:0]
:KUBE-IPVS-OUT-FILTER - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SOURCE-RANGES-FIREWALL - [0:0]
:THEIRS - [0:0]
-A INPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-FILTER
-A INPUT -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A INPUT -m comment --comment "kubernetes health check rules" -j KUBE-NODE-PORT
-A INPUT -j THEIRS
-A FORWARD -m comment --comment "kube-proxy firewall rules" -j KUBE-PROXY-FIREWALL
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A OUTPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-IPVS-FILTER -m set --match-set KUBE-LOAD-BALANCER dst,dst -j RETURN
-A KUBE-IPVS-FILTER -m conntrack --ctstate NEW -m set --match-set KUBE-IPVS-IPS dst -j REJECT
-A KUBE-NODE-PORT -m comment --comment "Kubernetes health check node port" -m set --match-set KUBE-HEALTH-CHECK-NODE-PORT dst -j ACCEPT
-A KUBE-PROXY-FIREWALL -m comment --comment "Kubernetes service load balancer ip + port for load balancer with sourceRange" -m set --match-set KUBE-LOAD-BALANCER dst,dst -j KUBE-SOURCE-RANGES-FIREWALL
-A KUBE-SOURCE-RANGES-FIREWALL -j DROP
-A THEIRS -m set --match-set THEIRS src -j ACCEPT
COMMIT
*nat
:KUBE-LOAD-BALANCER - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODE-PORT - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-LOAD-BALANCER -j KUBE-MARK-MASQ
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-NODE-PORT -p tcp -m comment --comment "Kubernetes nodeport TCP port for masquerade purpose" -m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ
-A KUBE-POSTROUTING -m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE
-A KUBE-SERVICES -m comment --comment "Kubernetes service lb portal" -m set --match-set KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
COMMIT
`

// dropInAfterIPVS finds chains and IP sets of kube-proxy's mode ipvs, and some of others that look alike.
func dropInAfterIPVS(t *testing.T, d *dropIn) {
	err := d.Host(lab.Node).Do(func() error {
		for name, kind := range map[string]string{
			"KUBE-LOAD-BALANCER": "hash:ip,port", "KUBE-CLUSTER-IP": "hash:ip,port", "KUBE-LOOP-BACK": "hash:ip,port,ip", "KUBE-IPVS-IPS": "hash:ip",
			"KUBE-NODE-PORT-TCP": "hash:ip", "KUBE-HEALTH-CHECK-NODE-PORT": "hash:ip", "THEIRS": "hash:ip",
		} {
			if err := netlink.IpsetCreate(name, kind, netlink.IpsetCreateOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Skip("this kernel lacks ip sets: " + err.Error())
	}
	d.on(t, ipvsRules, "iptables-nft-restore", "--noflush")
	d.write(t, d.config, d.kubeadm())
	d.exec(t, d.program, "--config="+d.config, "--cleanup")
	if code, log := d.ended(t); code != 0 || !strings.Contains(log, "ipvs: removed ip set KUBE-LOAD-BALANCER\n") {
		t.Errorf("--cleanup: exit status %d, want 0, and a word about the sets:\n%s", code, log)
	}
	left, err := d.Host(lab.Node).Command(strings.NewReader(""), "iptables-nft-save")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(left)) {
		if strings.Contains(line, "KUBE-") && !strings.Contains(line, "KUBE-FIREWALL") {
			t.Errorf("--cleanup left %s", line)
		}
	}
	for _, kept := range []string{"-A INPUT -j THEIRS", "-A THEIRS -m set --match-set THEIRS src -j ACCEPT", "-A OUTPUT -j KUBE-FIREWALL"} {
		if !strings.Contains(string(left), kept) {
			t.Errorf("--cleanup removed %s", kept)
		}
	}
	err = d.Host(lab.Node).Do(func() error {
		sets, err := netlink.IpsetListAll()
		if err == nil && (len(sets) != 1 || sets[0].SetName != "THEIRS") {
			t.Errorf("sets %v, want that of others alone", sets)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// dropInClientGates switches streaming lists off, by a gate that client-go asks for.
func dropInClientGates(t *testing.T, d *dropIn) {
	streamed := func() bool {
		return slices.ContainsFunc(d.server.Requests(), func(r kubetest.Request) bool { return r.Query.Get("sendInitialEvents") == "true" })
	}
	d.write(t, d.config, d.kubeadm()+"featureGates: {WatchListClient: false}\n")
	d.follow(t)
	if streamed() {
		t.Error("lists are streamed, although WatchListClient is false")
	}
	d.stop(t)
	d.write(t, d.config, d.kubeadm())
	d.follow(t)
	if !streamed() {
		t.Error("lists are not streamed, although WatchListClient is not said to be false")
	}
}

// dropInReadOnly runs it with CAP_NET_ADMIN alone, and where sysctls cannot be written, as in a container without further
// privileges: an init container with --init-only has to come first.
func dropInReadOnly(t *testing.T, d *dropIn) {
	d.write(t, d.config, d.kubeadm())
	readOnly := func(argv ...string) []string {
		return append([]string{"unshare", "--mount", "sh", "-c", `mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys && exec "$@"`, "sh",
			"setpriv", "--inh-caps=-all,+net_admin", "--bounding-set=-all,+net_admin"}, argv...)
	}
	if out, err := exec.Command("unshare", readOnly("true")[1:]...).CombinedOutput(); err != nil {
		cannot(t, "mount /proc/sys read-only, and give up privileges: "+string(out))
	}
	argv := []string{d.program, "--config=" + d.config, "--hostname-override=" + nodeName}
	d.exec(t, readOnly(argv...)...)
	code, log := d.ended(t)
	for _, part := range []string{"nf_conntrack_tcp_timeout_established", "read-only", "--init-only", "--conntrack-tcp-timeout-established=0", "route_localnet", "--iptables-localhost-nodeports=false"} {
		if code != 1 || !strings.Contains(log, part) {
			t.Errorf("exit status %d, want 1, and the log does not contain %q:\n%s", code, part, log)
		}
	}
	d.exec(t, append(argv, "--init-only")...)
	if code, log := d.ended(t); code != 0 {
		t.Fatalf("--init-only: exit status %d:\n%s", code, log)
	}
	d.sysctls(t, map[string]string{established: "86400", closeWait: "3600", localnet: "1"})
	if rules := d.rules(t); strings.Contains(rules, "KUBE-") {
		t.Errorf("--init-only wrote rules:\n%s", rules)
	}
	d.exec(t, readOnly(argv...)...)
	d.awaitLog(t, `"Synced" family="ipv4"`, `"Synced" family="ipv6"`)
}

// dropInWithoutIPv6 has settings that want IPv6 where there is none.
func dropInWithoutIPv6(t *testing.T, d *dropIn) {
	if err := d.Host(lab.Node).Sysctl("ipv6/conf/all/disable_ipv6", "1"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, from, to string
		says           string
	}{
		{"the node is said to be IPv6", "bindAddress: 0.0.0.0", "bindAddress: fd00::1", "this node is ipv6"},
		{"the pods are", "clusterCIDR: 10.180.0.0/16", "clusterCIDR: fd00::/48", "fd00::/48 is ipv6, but this node is ipv4"},
	} {
		d.write(t, d.config, strings.Replace(d.kubeadm(), test.from, test.to, 1))
		d.exec(t, d.program, "--config="+d.config, "--hostname-override="+nodeName)
		if code, log := d.ended(t); code != 1 || !strings.Contains(log, test.says) {
			t.Errorf("%s: exit status %d, want 1 and %q:\n%s", test.name, code, test.says, log)
		}
		if rules := d.rules(t); strings.Contains(rules, "web") {
			t.Errorf("%s: rules were written:\n%s", test.name, rules)
		}
	}
	d.write(t, d.config, d.kubeadm())
	d.exec(t, d.program, "--config="+d.config, "--hostname-override="+nodeName)
	d.awaitLog(t, `"Synced" family="ipv4"`, `"Family is not served" family="ipv6"`)
}
