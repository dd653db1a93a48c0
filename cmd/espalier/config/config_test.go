package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/sysctl"
)

// resolve returns the Config of a command line. A file that is not empty becomes --config.
func resolve(t *testing.T, file string, args ...string) (Config, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "config.conf")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	fs.SetOutput(t.Output())
	f := NewFlags()
	f.Add(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	l, err := f.Load(fs)
	if err != nil {
		return Config{}, err
	}
	return l.Check()
}

func TestSettings(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddrPort
	type values map[string]any
	for _, test := range []struct {
		name string
		file string // without the header
		args string
		want values
	}{
		{"nobody said anything", "", "--hostname-override=n", values{
			"Task": Run, "NodeName": "n", "Backend": iptables.Auto, "MinSyncPeriod": time.Duration(0), "SyncPeriod": 30 * time.Second,
			"Source":      Source{QPS: 5, Burst: 10, ContentType: "application/vnd.kubernetes.protobuf", Resync: 15 * time.Minute},
			"Rules":       Rules{MasqueradeBit: 14, LocalhostNodePorts: true, Local: Local{Mode: ClusterCIDR}},
			"Serve":       Serve{Healthz: addr("0.0.0.0:10256"), Metrics: addr("127.0.0.1:10249")},
			"Conntrack":   sysctl.Conntrack{MaxPerCore: 32768, Min: 131072, Established: 24 * time.Hour, CloseWait: time.Hour},
			"OOMScoreAdj": -999, "ModeDefaulted": true, "Notes": []string(nil),
		}},
		{"kubeadm's file says no more than where the cluster is", kubeadm, "--hostname-override=n", values{
			"NodeName": "n", "MinSyncPeriod": time.Duration(0), "SyncPeriod": 30 * time.Second, "ModeDefaulted": false, "Notes": []string(nil),
			"Source": Source{Kubeconfig: "/var/lib/kube-proxy/kubeconfig.conf", QPS: 5, Burst: 10, ContentType: "application/vnd.kubernetes.protobuf", Resync: 15 * time.Minute},
			"Rules":  Rules{MasqueradeBit: 14, LocalhostNodePorts: true, Local: Local{Mode: ClusterCIDR, PodCIDRs: []netip.Prefix{prefix("10.244.0.0/16")}}},
			"Serve":  Serve{Healthz: addr("0.0.0.0:10256"), Metrics: addr("127.0.0.1:10249")},
		}},

		{"a least time between writes is obeyed", "", "--iptables-min-sync-period=1s", values{"MinSyncPeriod": time.Second}},
		{"zero is ours, too", "", "--iptables-min-sync-period=0", values{"MinSyncPeriod": time.Duration(0)}},
		{"so is the one of a file", "iptables: {minSyncPeriod: 1s}", "", values{"MinSyncPeriod": time.Second}},
		{"which cannot say zero", "iptables: {minSyncPeriod: 0s}", "", values{"MinSyncPeriod": time.Duration(0)}},
		{"the flag beside a file is not obeyed", "mode: iptables", "--iptables-min-sync-period=1s", values{"MinSyncPeriod": time.Duration(0)}},

		{"an address gets the port of the deprecated flag", "", "--healthz-bind-address=10.0.0.1 --healthz-port=7 --metrics-bind-address=fd00::1", values{
			"Serve": Serve{Healthz: addr("10.0.0.1:7"), Metrics: addr("[fd00::1]:10249")}}},
		{"but not if it has one", "", "--healthz-bind-address=10.0.0.1:8 --healthz-port=7", values{
			"Serve": Serve{Healthz: addr("10.0.0.1:8"), Metrics: addr("127.0.0.1:10249")}}},
		{"port zero switches health off", "", "--healthz-port=0", values{"Serve": Serve{Metrics: addr("127.0.0.1:10249")}}},
		{"a file cannot", "healthzBindAddress: \"\"", "--healthz-port=0", values{
			"Serve": Serve{Healthz: addr("0.0.0.0:10256"), Metrics: addr("127.0.0.1:10249")}}},
		{"what is served", "bindAddress: fd00::1\nbindAddressHardFail: true\nenableProfiling: true\nshowHiddenMetricsForVersion: \"1.36\"", "", values{
			"Serve": Serve{Healthz: addr("[::]:10256"), Metrics: addr("[::1]:10249"), HardFail: true, Profiling: true, HiddenMetrics: true}}},

		{"host names are trimmed and lowered", "hostnameOverride: ' Node-A '", "", values{"NodeName": "node-a"}},
		{"the flag wins", "hostnameOverride: node-a", "--hostname-override=Node-B", values{"NodeName": "node-b"}},
		{"to clean up takes no name", "hostnameOverride: ' '", "--cleanup", values{"Task": Cleanup, "NodeName": ""}},
		{"to write comes before cleaning up", "", "--cleanup --init-only --write-config-to=/w", values{"Task": WriteConfig, "WriteTo": "/w"}},
		{"to clean up comes before preparing", "", "--cleanup --init-only", values{"Task": Cleanup}},
		{"to prepare", "", "--init-only", values{"Task": InitOnly}},

		{"rules", "", "--masquerade-all --iptables-masquerade-bit=0 --iptables-localhost-nodeports=false --bind-address=010.0.0.1 " +
			"--nodeport-addresses=primary,10.1.2.3/8 --cluster-cidr=10.244.1.0/16,fd00::/48 --feature-gates=AllowServiceExternalIPs=false", values{
			"Rules": Rules{
				MasqueradeAll: true, NodeIP: netip.MustParseAddr("10.0.0.1"), NoExternalIPs: true,
				NodePorts: NodePorts{Primary: true, CIDRs: []netip.Prefix{prefix("10.0.0.0/8")}},
				Local:     Local{Mode: ClusterCIDR, PodCIDRs: []netip.Prefix{prefix("10.244.0.0/16"), prefix("fd00::/48")}},
			}}},
		{"the unspecified address is nobody's", "bindAddress: '::'\ndetectLocalMode: NodeCIDR\nclusterCIDR: 10.0.0.0/8\nnodePortAddresses: [localhost, all]", "", values{
			"Rules": Rules{MasqueradeBit: 14, LocalhostNodePorts: true, Local: Local{Mode: NodeCIDR},
				NodePorts: NodePorts{CIDRs: []netip.Prefix{prefix("127.0.0.0/8"), prefix("::1/128"), prefix("0.0.0.0/0"), prefix("::/0")}}}}},
		{"a bridge", "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}", "", values{
			"Rules": Rules{MasqueradeBit: 14, LocalhostNodePorts: true, Local: Local{Mode: BridgeInterface, Interface: "cni0"}}}},
		{"a prefix", "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}", "", values{
			"Rules": Rules{MasqueradeBit: 14, LocalhostNodePorts: true, Local: Local{Mode: InterfaceNamePrefix, Interface: "veth+"}}}},
		{"a prefix that leaves room for nothing", "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: a23456789012345}", "", values{
			"Rules": Rules{MasqueradeBit: 14, LocalhostNodePorts: true, Local: Local{Mode: InterfaceNamePrefix, Interface: "a23456789012345"}}}},

		{"the source", "", "--kubeconfig=/k --master=https://m --kube-api-qps=-1 --kube-api-burst=3 --kube-api-content-type=application/json --config-sync-period=1s", values{
			"Source": Source{Kubeconfig: "/k", Master: "https://m", QPS: -1, Burst: 3, ContentType: "application/json", Resync: time.Second}}},
		{"manifests in place of the file's cluster", "clientConnection: {kubeconfig: /k}", "--manifests=/m --iptables-backend=nft", values{
			"Source":  Source{Kubeconfig: "/k", Manifests: "/m", QPS: 5, Burst: 10, ContentType: "application/vnd.kubernetes.protobuf", Resync: 15 * time.Minute},
			"Backend": iptables.NFT}},
		{"conntrack", "conntrack: {maxPerCore: 0, min: 1, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 2s, tcpBeLiberal: true, udpTimeout: 3s, udpStreamTimeout: 4s}", "", values{
			"Conntrack": sysctl.Conntrack{Min: 1, CloseWait: 2 * time.Second, Liberal: true, UDP: 3 * time.Second, UDPStream: 4 * time.Second}}},

		{"flags beside a file are named", "mode: iptables", "--cluster-cidr=10.0.0.0/8 --profiling -v=2 --master=x --hostname-override=n --cleanup --oom-score-adj=9999", values{
			"Notes": []string{"These flags are ignored, because --config is given: --cluster-cidr, --oom-score-adj, --profiling"}}},
		{"what has no effect is named once", "ipvs: {scheduler: rr, strictARP: true}\nnftables: {masqueradeBit: 3}\nportRange: 1-2\nwinkernel: {enableDSR: true}\nfeatureGates: {EnvFiles: false, HPAGeneration: true, AllowServiceExternalIPs: false}", "", values{
			"Notes": []string{"These settings have no effect here: ipvs.scheduler (--ipvs-scheduler), ipvs.strictARP (--ipvs-strict-arp), nftables.masqueradeBit, winkernel.enableDSR, portRange, featureGates.EnvFiles"}}},
		{"so are flags, even those with their default", "", "--ipvs-sync-period=30s --ipvs-exclude-cidrs=10.0.0.0/8", values{
			"Notes": []string{"These settings have no effect here: ipvs.excludeCIDRs (--ipvs-exclude-cidrs), ipvs.syncPeriod (--ipvs-sync-period)"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := test.file
			if file != "" && file != kubeadm {
				file = header + file + "\n"
			}
			c, err := resolve(t, file, strings.Fields(test.args)...)
			if err != nil {
				t.Fatal(err)
			}
			got := values{}
			for name := range test.want {
				got[name] = reflect.ValueOf(c).FieldByName(name).Interface()
			}
			comparable := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
			prefixes := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
			ports := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
			if diff := cmp.Diff(test.want, got, comparable, prefixes, ports); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFileWithFieldsThatNobodyKnowsIsReadAndComplainedAbout(t *testing.T) {
	c, err := resolve(t, header+"bogus: 1\nclusterCIDR: 10.0.0.0/8\nclusterCIDR: 11.0.0.0/8\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "bogus") || !strings.Contains(c.Notes[0], "clusterCIDR") || strings.Contains(c.Notes[0], "\n") {
		t.Errorf("notes %q, want one line that names both fields", c.Notes)
	}
	if got := c.Rules.Local.PodCIDR(ipproto.IPv4).String(); got != "11.0.0.0/8" {
		t.Errorf("cluster CIDR %s, want the last one", got)
	}
}

func TestAllErrorsAreReportedAtOnce(t *testing.T) {
	_, err := resolve(t, header+"oomScoreAdj: 5000\nmode: nftables\nhostnameOverride: ' '\nmetricsBindAddress: x\nclusterCIDR: x\n", "--iptables-backend=ebpf")
	if err == nil {
		t.Fatal("no error")
	}
	for _, part := range []string{
		"oomScoreAdj (--oom-score-adj): 5000", "mode (--proxy-mode): \"nftables\"", "kube-proxy --cleanup", "hostnameOverride (--hostname-override)",
		"metricsBindAddress", "clusterCIDR (--cluster-cidr): \"x\"", "--iptables-backend",
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error does not contain %q:\n%v", part, err)
		}
	}
}

func TestWhatWasWrittenCanBeRead(t *testing.T) {
	c, err := resolve(t, kubeadm, "--hostname-override=n")
	if err != nil {
		t.Fatal(err)
	}
	text, err := Encode(c.Kube)
	if err != nil {
		t.Fatal(err)
	}
	again, err := resolve(t, string(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c.Kube, again.Kube); diff != "" {
		t.Errorf("configuration (-before +after):\n%s", diff)
	}
}

func TestNodePortPrefixes(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.168.0.1"), netip.MustParseAddr("fd00::1")
	for _, test := range []struct {
		name    string
		entries string
		family  ipproto.Family
		nodeIP  netip.Addr
		want    string
	}{
		{"nothing is everything", "", ipproto.IPv4, v4, "0.0.0.0/0"},
		{"a CIDR", "10.0.0.0/8", ipproto.IPv4, v4, "10.0.0.0/8"},
		{"only the other family is everything", "10.0.0.0/8", ipproto.IPv6, v6, "::/0"},
		{"the node's address", "primary", ipproto.IPv4, v4, "192.168.0.1/32"},
		{"the node's address of the other family", "primary", ipproto.IPv6, v6, "fd00::1/128"},
		{"an unknown node's address opens nothing", "primary", ipproto.IPv4, netip.Addr{}, ""},
		{"a loopback node's address opens nothing", "primary", ipproto.IPv4, netip.MustParseAddr("127.0.0.1"), ""},
		{"localhost", "localhost", ipproto.IPv4, v4, "127.0.0.0/8"},
		{"localhost of the other family", "localhost", ipproto.IPv6, v6, "::1/128"},
		{"all", "all", ipproto.IPv6, v6, "::/0"},
		{"words and CIDRs", "primary,10.0.0.0/8", ipproto.IPv4, v4, "10.0.0.0/8 192.168.0.1/32"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := resolve(t, "", "--nodeport-addresses="+test.entries)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range c.Rules.NodePorts.Prefixes(test.family, test.nodeIP) {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(test.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("prefixes (-want +got):\n%s", diff)
			}
		})
	}
}

// The version that is named must be the one whose types are linked in.
func TestKubernetesVersionIsThatOfTheModule(t *testing.T) {
	mod, err := os.ReadFile("../../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := "k8s.io/kube-proxy v0." + strings.TrimPrefix(KubernetesVersion, "1.") + "\n"
	if !strings.Contains(string(mod), want) {
		t.Errorf("go.mod does not have %q", want)
	}
	archive, err := filepath.Glob("testdata/kube-proxy-" + KubernetesVersion + ".txtar")
	if err != nil || len(archive) != 1 {
		t.Errorf("nothing is recorded of kube-proxy %s: %v", KubernetesVersion, err)
	}
}

func TestGatesHaveEffectThatAreSaidTo(t *testing.T) {
	gates, err := newGates()
	if err != nil {
		t.Fatal(err)
	}
	all := gates.GetAll()
	if len(all) != 254 {
		t.Errorf("%d gates, want 254", len(all))
	}
	for _, g := range gatesWithEffect {
		if _, known := all[g]; !known {
			t.Errorf("gate %s is unknown", g)
		}
	}
}
