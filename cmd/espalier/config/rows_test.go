package config

import "strings"

// row is a command line, or a file, or both.
type row struct {
	name string
	// args are separated by blanks; ␣ is a blank within one.
	args string
	file string
	// says is what an error must contain.
	says string
	// instead is what we do where kube-proxy does something else, and differs says why.
	instead string
	// nowrite leaves --write-config-to away, where that matters. Only for what fails: else kube-proxy would run.
	nowrite bool
}

// header begins each file.
const header = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

func byArgs(name, args string) row        { return row{name: name, args: args} }
func badArgs(name, args, says string) row { return row{name: name, args: args, says: says} }
func byFile(name, fields string) row      { return row{name: name, file: header + fields + "\n"} }
func badFile(name, fields, says string) row {
	return row{name: name, file: header + fields + "\n", says: says}
}

// differently is for what we do otherwise than kube-proxy.
func differently(r row, instead, says string) row {
	r.instead, r.says = instead, says
	return r
}

func rows() []row {
	var all []row
	for _, part := range [][]row{generalRows(), flagRows(), withFileRows(), decodingRows(), fieldRows(), takeoverRows()} {
		all = append(all, part...)
	}
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.name] || strings.ContainsAny(r.name, "\n") {
			panic("two cases are called " + r.name)
		}
		seen[r.name] = true
	}
	return all
}

// generalRows are about command lines in general.
func generalRows() []row {
	return []row{
		byArgs("no flags", ""),
		byArgs("underscores are dashes", "--cluster_cidr=10.0.0.0/8"),
		badArgs("unknown flag", "--bogus", "--bogus"),
		badArgs("bad value", "--masquerade-all=perhaps", "perhaps"),
		badArgs("bad number", "--oom-score-adj=x", "x"),
		badArgs("bad duration", "--iptables-sync-period=30", "30"),
		byArgs("duration of several units", "--iptables-sync-period=1h2m"),
		byArgs("the last flag wins", "--cluster-cidr=10.0.0.0/8 --cluster-cidr=11.0.0.0/8"),
		byArgs("lists accumulate", "--nodeport-addresses=10.0.0.0/8,11.0.0.0/8 --nodeport-addresses=12.0.0.0/8"),
		byArgs("maps accumulate", "--feature-gates=AllAlpha=false --feature-gates=AllBeta=false,NativeHistograms=false"),
		byArgs("deprecated flag", "--healthz-port=10300"),
		badArgs("flag that is no more", "--udp-timeout=1s", "--udp-timeout"),
		badArgs("flag of klog that is no more", "--logtostderr", "--logtostderr"),
		badArgs("host name for an address", "--healthz-bind-address=localhost:10256", "localhost"),
		badArgs("host name for an IP", "--bind-address=localhost", "localhost"),
		byArgs("leading zeros", "--bind-address=010.0.0.001"),
		byArgs("empty address", "--bind-address="),
		byArgs("empty address and port", "--healthz-bind-address= --metrics-bind-address="),
	}
}

func flagRows() []row {
	return []row{
		byArgs("bind-address IPv4", "--bind-address=10.0.0.1"),
		byArgs("bind-address IPv6 does not move the others", "--bind-address=fd00::1"),
		byArgs("bind-address-hard-fail", "--bind-address-hard-fail"),
		byArgs("cluster-cidr", "--cluster-cidr=10.244.0.0/16"),
		byArgs("cluster-cidr of both families", "--cluster-cidr=10.244.0.0/16,fd00::/48"),
		byArgs("cluster-cidr with host bits", "--cluster-cidr=10.244.1.2/16"),
		badArgs("cluster-cidr empty", "--cluster-cidr=", "empty"),
		badArgs("cluster-cidr with a blank", "--cluster-cidr=10.244.0.0/16,␣fd00::/48", "blanks"),
		badArgs("cluster-cidr twice of a family", "--cluster-cidr=10.244.0.0/16,10.245.0.0/16", "second"),
		badArgs("cluster-cidr of three", "--cluster-cidr=10.244.0.0/16,fd00::/48,10.245.0.0/16", "10.245.0.0/16"),
		badArgs("cluster-cidr without a length", "--cluster-cidr=10.244.0.0", "10.244.0.0/16"),
		byArgs("cluster-cidr that no mode asks for", "--cluster-cidr=nonsense --detect-local-mode=NodeCIDR"),
		byArgs("cluster-cidr empty and not asked for", "--cluster-cidr= --detect-local-mode=NodeCIDR"),
		badArgs("config that is not there", "--config=/nonexistent", "/nonexistent"),
		byArgs("config-sync-period", "--config-sync-period=1ns"),
		badArgs("config-sync-period zero", "--config-sync-period=0", "--config-sync-period"),
		byArgs("conntrack-max-per-core zero", "--conntrack-max-per-core=0"),
		badArgs("conntrack-max-per-core negative", "--conntrack-max-per-core=-1", "--conntrack-max-per-core"),
		badArgs("conntrack-max-per-core too large", "--conntrack-max-per-core=2147483648", "--conntrack-max-per-core"),
		byArgs("conntrack-min zero", "--conntrack-min=0"),
		badArgs("conntrack-min negative", "--conntrack-min=-1", "--conntrack-min"),
		byArgs("conntrack-tcp-be-liberal", "--conntrack-tcp-be-liberal"),
		byArgs("conntrack timeouts zero", "--conntrack-tcp-timeout-close-wait=0 --conntrack-tcp-timeout-established=0"),
		byArgs("conntrack timeouts", "--conntrack-tcp-timeout-close-wait=1m --conntrack-tcp-timeout-established=2h --conntrack-udp-timeout=3s --conntrack-udp-timeout-stream=500ms"),
		badArgs("conntrack-tcp-timeout-close-wait negative", "--conntrack-tcp-timeout-close-wait=-1s", "--conntrack-tcp-timeout-close-wait"),
		badArgs("conntrack-tcp-timeout-established negative", "--conntrack-tcp-timeout-established=-1s", "--conntrack-tcp-timeout-established"),
		badArgs("conntrack-udp-timeout negative", "--conntrack-udp-timeout=-1s", "--conntrack-udp-timeout"),
		badArgs("conntrack-udp-timeout-stream negative", "--conntrack-udp-timeout-stream=-1s", "--conntrack-udp-timeout-stream"),
		byArgs("detect-local-mode NodeCIDR", "--detect-local-mode=NodeCIDR"),
		byArgs("detect-local-mode empty", "--detect-local-mode="),
		badArgs("detect-local-mode in another case", "--detect-local-mode=nodecidr", "NodeCIDR"),
		byArgs("bridge", "--detect-local-mode=BridgeInterface --pod-bridge-interface=cni0"),
		badArgs("bridge without a name", "--detect-local-mode=BridgeInterface", "--pod-bridge-interface"),
		byArgs("bridge of the longest name", "--detect-local-mode=BridgeInterface --pod-bridge-interface=a23456789012345"),
		// kube-proxy finds out from iptables, at each sync.
		differently(byArgs("bridge of too long a name", "--detect-local-mode=BridgeInterface --pod-bridge-interface=a234567890123456"),
			"fails: check\n", "a234567890123456"),
		byArgs("interface prefix", "--detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix=veth"),
		badArgs("interface prefix without a name", "--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix"),
		byArgs("bridge that no mode asks for", "--pod-bridge-interface=a234567890123456"),
		byArgs("gate", "--feature-gates=AllowServiceExternalIPs=false"),
		byArgs("gate of another component", "--feature-gates=EnvFiles=false,HPAScaleToZero=false"),
		badArgs("unknown gate", "--feature-gates=AllowServiceExternalIP=false", "AllowServiceExternalIP"),
		badArgs("locked gate", "--feature-gates=PreferSameTrafficDistribution=false", "PreferSameTrafficDistribution"),
		byArgs("locked gate as it is", "--feature-gates=PreferSameTrafficDistribution=true"),
		byArgs("deprecated gate", "--feature-gates=KubeProxyIPVS=false"),
		badArgs("gates that need others", "--feature-gates=AllAlpha=true", "GenericWorkload"),
		byArgs("all gates that can be", "--feature-gates=AllAlpha=true,AllBeta=true"),
		badArgs("gate without a value", "--feature-gates=EnvFiles", "EnvFiles"),
		badArgs("gate with a strange value", "--feature-gates=EnvFiles=maybe", "maybe"),
		byArgs("healthz-bind-address", "--healthz-bind-address=10.0.0.1:1"),
		byArgs("healthz-bind-address IPv6", "--healthz-bind-address=[fd00::1]:65535"),
		badArgs("healthz-bind-address without a port does not pass with --write-config-to", "--healthz-bind-address=10.0.0.1", "--healthz-bind-address"),
		badArgs("healthz-bind-address port zero", "--healthz-bind-address=10.0.0.1:0", "port"),
		badArgs("healthz-bind-address port too large", "--healthz-bind-address=10.0.0.1:65536", "65536"),
		badArgs("metrics-bind-address port zero", "--metrics-bind-address=10.0.0.1:0", "port"),
		byArgs("metrics-bind-address", "--metrics-bind-address=0.0.0.0:10249"),
		byArgs("metrics-port has no effect with --write-config-to", "--metrics-port=0"),
		{name: "metrics-port zero fails without --write-config-to", args: "--metrics-port=0", nowrite: true, says: "metricsBindAddress"},
		{name: "healthz-port too large", args: "--healthz-bind-address=10.0.0.1 --healthz-port=65536", nowrite: true, says: "65536"},
		{name: "metrics-port negative", args: "--metrics-bind-address=10.0.0.1 --metrics-port=-1", nowrite: true, says: "-1"},
		byArgs("hostname-override", "--hostname-override=␣Node-A␣"),
		badArgs("hostname-override blank", "--hostname-override=␣", "--hostname-override"),
		byArgs("hostname-override empty", "--hostname-override="),
		byArgs("iptables-localhost-nodeports", "--iptables-localhost-nodeports=false"),
		byArgs("iptables-masquerade-bit zero", "--iptables-masquerade-bit=0"),
		byArgs("iptables-masquerade-bit 31", "--iptables-masquerade-bit=31"),
		badArgs("iptables-masquerade-bit 32", "--iptables-masquerade-bit=32", "31"),
		badArgs("iptables-masquerade-bit negative", "--iptables-masquerade-bit=-1", "--iptables-masquerade-bit"),
		byArgs("iptables-min-sync-period", "--iptables-min-sync-period=10s"),
		byArgs("iptables-min-sync-period zero", "--iptables-min-sync-period=0"),
		byArgs("iptables-min-sync-period as sync period", "--iptables-min-sync-period=30s"),
		badArgs("iptables-min-sync-period above sync period", "--iptables-min-sync-period=31s", "--iptables-sync-period"),
		badArgs("iptables-min-sync-period negative", "--iptables-min-sync-period=-1s", "--iptables-min-sync-period"),
		// kube-proxy panics later.
		differently(byArgs("iptables-min-sync-period above an hour", "--iptables-min-sync-period=61m --iptables-sync-period=2h"),
			"fails: check\n", "1h"),
		badArgs("iptables-sync-period zero", "--iptables-sync-period=0", "--iptables-sync-period"),
		badArgs("iptables-sync-period below the default minimum", "--iptables-sync-period=500ms", "--iptables-sync-period"),
		byArgs("ipvs flags", "--ipvs-exclude-cidrs=10.0.0.0/8 --ipvs-min-sync-period=5s --ipvs-sync-period=6s --ipvs-scheduler=rr --ipvs-strict-arp --ipvs-tcp-timeout=1s --ipvs-tcpfin-timeout=2s --ipvs-udp-timeout=3s"),
		byArgs("ipvs flags that are wrong where it matters", "--ipvs-exclude-cidrs=nonsense --ipvs-tcp-timeout=-1s"),
		byArgs("kube-api-burst zero", "--kube-api-burst=0"),
		badArgs("kube-api-burst negative", "--kube-api-burst=-1", "--kube-api-burst"),
		byArgs("kube-api-content-type", "--kube-api-content-type=application/json"),
		byArgs("kube-api-qps negative", "--kube-api-qps=-1"),
		byArgs("kube-api-qps", "--kube-api-qps=2.5"),
		byArgs("kubeconfig and master", "--kubeconfig=/k --master=https://1.2.3.4"),
		byArgs("log-flush-frequency", "--log-flush-frequency=1s"),
		badArgs("log-flush-frequency zero", "--log-flush-frequency=0", "flushFrequency"),
		badArgs("split stream without its gate", "--log-text-split-stream", "LoggingAlphaOptions"),
		byArgs("split stream with its gate", "--log-text-split-stream --log-json-split-stream --feature-gates=LoggingAlphaOptions=true"),
		badArgs("info buffer without its gate", "--log-json-info-buffer-size=1k", "LoggingAlphaOptions"),
		byArgs("info buffer with its gate", "--log-json-info-buffer-size=1k --log-text-info-buffer-size=2Ki --feature-gates=LoggingAlphaOptions=true"),
		byArgs("logging-format", "--logging-format=json"),
		badArgs("logging-format unknown", "--logging-format=xml", "xml"),
		badArgs("logging-format without its gate", "--logging-format=json --feature-gates=LoggingBetaOptions=false", "LoggingBetaOptions"),
		byArgs("masquerade-all", "--masquerade-all"),
		byArgs("nodeport-addresses words", "--nodeport-addresses=primary,localhost,all,10.0.0.0/8"),
		byArgs("nodeport-addresses twice the same CIDR", "--nodeport-addresses=10.0.0.0/8,10.0.0.0/8"),
		badArgs("nodeport-addresses twice the same word", "--nodeport-addresses=primary,primary", "twice"),
		badArgs("nodeport-addresses nonsense", "--nodeport-addresses=everywhere", "everywhere"),
		badArgs("nodeport-addresses without a length", "--nodeport-addresses=10.0.0.1", "10.0.0.1"),
		byArgs("oom-score-adj", "--oom-score-adj=-1000"),
		badArgs("oom-score-adj too low", "--oom-score-adj=-1001", "--oom-score-adj"),
		badArgs("oom-score-adj too high", "--oom-score-adj=1001", "--oom-score-adj"),
		byArgs("profiling", "--profiling"),
		byArgs("proxy-mode", "--proxy-mode=iptables"),
		byArgs("proxy-mode empty", "--proxy-mode="),
		differently(byArgs("proxy-mode ipvs", "--proxy-mode=ipvs"), "fails: check\n", `use "iptables"`),
		differently(byArgs("proxy-mode nftables", "--proxy-mode=nftables"), "fails: check\n", `use "iptables"`),
		badArgs("proxy-mode unknown", "--proxy-mode=userspace", "userspace"),
		badArgs("proxy-mode in another case", "--proxy-mode=IPTables", "IPTables"),
		byArgs("show-hidden-metrics-for-version", "--show-hidden-metrics-for-version=1.36"),
		badArgs("show-hidden-metrics-for-version of this release", "--show-hidden-metrics-for-version=1.37", "1.36"),
		badArgs("show-hidden-metrics-for-version with a patch", "--show-hidden-metrics-for-version=1.36.1", "1.36"),
		byArgs("verbosity", "-v=4"),
		badArgs("verbosity negative", "--v=-1", "-1"),
		byArgs("vmodule", "--vmodule=proxier=3,sync*=4"),
		badArgs("vmodule without a level", "--vmodule=proxier", "proxier"),
		badArgs("vmodule with json", "--vmodule=proxier=3 --logging-format=json", "text"),
		badArgs("several errors", "--oom-score-adj=1001 --nodeport-addresses=x --conntrack-min=-1", "--conntrack-min"),
	}
}

// withFileRows are about flags beside a file.
func withFileRows() []row {
	beside := func(name, args, fields string) row {
		return row{name: "with a file: " + name, args: args, file: header + fields + "\n"}
	}
	return []row{
		beside("rules are thrown away", "--cluster-cidr=10.0.0.0/8 --masquerade-all --iptables-masquerade-bit=7 --nodeport-addresses=primary --bind-address=1.2.3.4", "clusterCIDR: 11.0.0.0/8"),
		beside("so are wrong ones", "--cluster-cidr=nonsense --oom-score-adj=5000 --proxy-mode=userspace", ""),
		beside("an empty cluster-cidr", "--cluster-cidr=", ""),
		beside("gates are thrown away", "--feature-gates=EnvFiles=false", "featureGates: {HPAGeneration: false}"),
		beside("periods and client are thrown away", "--iptables-sync-period=1m --iptables-min-sync-period=10s --kube-api-qps=7 --kubeconfig=/k --config-sync-period=1s", ""),
		beside("addresses are thrown away", "--healthz-bind-address=1.2.3.4:5 --healthz-port=7 --metrics-port=8 --profiling", ""),
		beside("the host name wins", "--hostname-override=Node-B", "hostnameOverride: node-a"),
		beside("an empty host name does not", "--hostname-override=", "hostnameOverride: node-a"),
		beside("logging wins", "-v=5 --logging-format=json --log-flush-frequency=1s", "logging: {verbosity: 2, flushFrequency: 7s, format: text}"),
		beside("logging that is not given stays", "-v=5", "logging: {verbosity: 2, flushFrequency: 7s, format: json}"),
		beside("vmodule comes first", "--vmodule=b=3,c=4", "logging: {vmodule: [{filePattern: a, verbosity: 1}]}"),
		// kube-proxy loses splitStream of the file.
		differently(beside("split stream", "", "featureGates: {LoggingAlphaOptions: true}\nlogging: {options: {text: {splitStream: true, infoBufferSize: 64Ki}}}"),
			"+ [featureGates] featureGates:\n+ [featureGates]   LoggingAlphaOptions: true\n+ [logging]       infoBufferSize: 64Ki\n+ [logging]       splitStream: true\n", ""),
	}
}

// decodingRows are about files in general.
func decodingRows() []row {
	bare := func(name, text, says string) row { return row{name: "file: " + name, file: text, says: says} }
	return []row{
		bare("only the kind", header, ""),
		bare("JSON", `{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "oomScoreAdj": -5}`, ""),
		bare("empty", " ", "KubeProxyConfiguration"),
		bare("no kind", "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n", "KubeProxyConfiguration"),
		bare("another kind", "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeletConfiguration\n", "KubeProxyConfiguration"),
		bare("no version", "kind: KubeProxyConfiguration\n", "v1alpha1"),
		bare("another version", "apiVersion: kubeproxy.config.k8s.io/v1beta1\nkind: KubeProxyConfiguration\n", "v1alpha1"),
		bare("no YAML", "a: [", ""),
		bare("of several documents the first", header+"oomScoreAdj: -5\n---\n"+header+"oomScoreAdj: -6\n", ""),
		bare("a document of comments first", "# a comment\n---\n"+header+"oomScoreAdj: -6\n", ""),
		byFile("file: unknown field", "bogus: 1\noomScoreAdj: -5"),
		byFile("file: unknown field below", "iptables: {bogus: 1, masqueradeBit: 3}"),
		byFile("file: duplicate key", "oomScoreAdj: -5\noomScoreAdj: -6"),
		byFile("file: unknown and duplicate", "bogus: 1\nclusterCIDR: 10.0.0.0/8\nclusterCIDR: 11.0.0.0/8"),
		byFile("file: another letter case", "MODE: ipvs\noomscoreadj: -5"),
		badFile("file: wrong type", "oomScoreAdj: high", ""),
		badFile("file: wrong type of a list", "nodePortAddresses: primary", ""),
		badFile("file: number for a duration", "configSyncPeriod: 30", ""),
		badFile("file: bad duration", "configSyncPeriod: 30x", "30x"),
		byFile("file: null", "oomScoreAdj: null\nnodePortAddresses: null\nclusterCIDR: null\niptables: null\nconntrack: {maxPerCore: null}\nfeatureGates: null"),
		byFile("file: zeros are defaults", "iptables: {syncPeriod: 0s, minSyncPeriod: 0s}\nconfigSyncPeriod: 0s\nclientConnection: {qps: 0, burst: 0, contentType: \"\"}\nbindAddress: \"\"\nhealthzBindAddress: \"\"\nmetricsBindAddress: \"\"\nmode: \"\"\ndetectLocalMode: \"\"\nclusterCIDR: \"\""),
		byFile("file: zeros behind pointers are zeros", "oomScoreAdj: 0\niptables: {masqueradeBit: 0, localhostNodePorts: false}\nconntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}"),
		byFile("file: flush frequency as a number", "logging: {flushFrequency: 3000000000}"),
		byFile("file: flush frequency zero", "logging: {flushFrequency: 0}"),
		byFile("file: flush frequency zero seconds", "logging: {flushFrequency: 0s}"),
	}
}

func fieldRows() []row {
	f, bad := byFile, badFile
	return []row{
		f("featureGates", "featureGates: {EnvFiles: false, AllowServiceExternalIPs: false}"),
		bad("featureGates unknown", "featureGates: {Bogus: true}", "Bogus"),
		bad("featureGates locked", "featureGates: {MultiCIDRServiceAllocator: false}", "MultiCIDRServiceAllocator"),
		f("clientConnection", "clientConnection: {kubeconfig: /k, acceptContentTypes: a, contentType: b, qps: -3, burst: 7}"),
		bad("clientConnection.burst negative", "clientConnection: {burst: -1}", "clientConnection.burst"),
		f("logging", "logging: {format: json, verbosity: 3, flushFrequency: 2s}"),
		bad("logging.format unknown", "logging: {format: xml}", "xml"),
		bad("logging.flushFrequency negative", "logging: {flushFrequency: -1s}", "flushFrequency"),
		f("logging.verbosity greatest", "logging: {verbosity: 2147483647}"),
		bad("logging.verbosity too great", "logging: {verbosity: 2147483648}", "verbosity"),
		bad("logging.vmodule without a pattern", "logging: {vmodule: [{filePattern: \"\", verbosity: 1}]}", "vmodule"),
		bad("logging.vmodule with a comma", "logging: {vmodule: [{filePattern: \"a,b\", verbosity: 1}]}", "vmodule"),
		bad("logging.vmodule with json", "logging: {format: json, vmodule: [{filePattern: a, verbosity: 1}]}", "vmodule"),
		bad("logging.options without the gate", "logging: {options: {json: {infoBufferSize: 1k}}}", "LoggingAlphaOptions"),
		f("hostnameOverride is written as it is", "hostnameOverride: \" Node-A \""),
		f("bindAddress IPv4", "bindAddress: 10.0.0.1"),
		f("bindAddress IPv6 moves the others", "bindAddress: fd00::1"),
		f("bindAddress any IPv6", "bindAddress: \"::\""),
		bad("bindAddress nonsense", "bindAddress: here", "bindAddress"),
		f("healthzBindAddress without a port", "healthzBindAddress: 10.0.0.1\nmetricsBindAddress: fd00::1"),
		f("healthzBindAddress with a port", "healthzBindAddress: 10.0.0.1:1\nmetricsBindAddress: \"[fd00::1]:65535\""),
		bad("healthzBindAddress of a host", "healthzBindAddress: localhost:1", "healthzBindAddress"),
		bad("healthzBindAddress port zero", "healthzBindAddress: 10.0.0.1:0", "healthzBindAddress"),
		bad("healthzBindAddress named port", "healthzBindAddress: 10.0.0.1:http", "healthzBindAddress"),
		bad("metricsBindAddress port too large", "metricsBindAddress: 10.0.0.1:65536", "metricsBindAddress"),
		bad("metricsBindAddress nonsense", "metricsBindAddress: x", "metricsBindAddress"),
		f("switches", "bindAddressHardFail: true\nenableProfiling: true"),
		f("showHiddenMetricsForVersion", "showHiddenMetricsForVersion: \"1.36\""),
		bad("showHiddenMetricsForVersion other", "showHiddenMetricsForVersion: \"1.35\"", "1.36"),
		f("mode", "mode: iptables"),
		differently(f("mode ipvs", "mode: ipvs"), "fails: check\n", `use "iptables"`),
		differently(f("mode nftables", "mode: nftables"), "fails: check\n", `use "iptables"`),
		bad("mode unknown", "mode: userspace", "userspace"),
		f("iptables", "iptables: {masqueradeBit: 31, masqueradeAll: true, localhostNodePorts: false, syncPeriod: 1m, minSyncPeriod: 1m}"),
		bad("iptables.masqueradeBit 32", "iptables: {masqueradeBit: 32}", "iptables.masqueradeBit"),
		bad("iptables.masqueradeBit negative", "iptables: {masqueradeBit: -1}", "iptables.masqueradeBit"),
		bad("iptables.syncPeriod negative", "iptables: {syncPeriod: -1s}", "iptables.syncPeriod"),
		bad("iptables.minSyncPeriod negative", "iptables: {minSyncPeriod: -1s}", "iptables.minSyncPeriod"),
		bad("iptables.minSyncPeriod above syncPeriod", "iptables: {syncPeriod: 1s, minSyncPeriod: 2s}", "iptables.syncPeriod"),
		f("ipvs in another mode", "ipvs: {syncPeriod: 1s, minSyncPeriod: 2s, scheduler: rr, excludeCIDRs: [nonsense], strictARP: true, tcpTimeout: -1s, tcpFinTimeout: 1s, udpTimeout: 1s}"),
		f("nftables in another mode", "nftables: {masqueradeBit: 99, masqueradeAll: true, syncPeriod: 1s, minSyncPeriod: 2s}"),
		f("winkernel", "winkernel: {networkName: a, sourceVip: b, enableDSR: true, rootHnsEndpointName: c, forwardHealthCheckVip: true}\nwindowsRunAsService: true\nportRange: 1-2"),
		f("detectLocalMode", "detectLocalMode: NodeCIDR"),
		bad("detectLocalMode unknown", "detectLocalMode: none", "detectLocalMode"),
		f("detectLocal.bridgeInterface", "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0}"),
		bad("detectLocal.bridgeInterface missing", "detectLocalMode: BridgeInterface", "detectLocal.bridgeInterface"),
		f("detectLocal.interfaceNamePrefix", "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}"),
		bad("detectLocal.interfaceNamePrefix missing", "detectLocalMode: InterfaceNamePrefix", "detectLocal.interfaceNamePrefix"),
		f("clusterCIDR of both families", "clusterCIDR: 10.0.0.0/8,fd00::/48"),
		bad("clusterCIDR with a blank", "clusterCIDR: 10.0.0.0/8, fd00::/48", "blanks"),
		bad("clusterCIDR nonsense", "clusterCIDR: x", "clusterCIDR"),
		bad("clusterCIDR with a comma behind", "clusterCIDR: \"10.0.0.0/8,\"", "clusterCIDR"),
		f("clusterCIDR nonsense that no mode asks for", "clusterCIDR: x\ndetectLocalMode: NodeCIDR"),
		f("nodePortAddresses", "nodePortAddresses: [primary, localhost, all, 10.0.0.0/8]"),
		f("nodePortAddresses empty", "nodePortAddresses: []"),
		bad("nodePortAddresses word twice", "nodePortAddresses: [all, all]", "twice"),
		bad("nodePortAddresses nonsense", "nodePortAddresses: [x]", "nodePortAddresses"),
		f("oomScoreAdj lowest", "oomScoreAdj: -1000"),
		f("oomScoreAdj highest", "oomScoreAdj: 1000"),
		bad("oomScoreAdj too high", "oomScoreAdj: 1001", "oomScoreAdj"),
		f("conntrack", "conntrack: {maxPerCore: 1, min: 2, tcpEstablishedTimeout: 3s, tcpCloseWaitTimeout: 4s, tcpBeLiberal: true, udpTimeout: 5s, udpStreamTimeout: 6s}"),
		bad("conntrack.maxPerCore negative", "conntrack: {maxPerCore: -1}", "conntrack.maxPerCore"),
		bad("conntrack.min negative", "conntrack: {min: -1}", "conntrack.min"),
		bad("conntrack.tcpEstablishedTimeout negative", "conntrack: {tcpEstablishedTimeout: -1s}", "conntrack.tcpEstablishedTimeout"),
		bad("conntrack.tcpCloseWaitTimeout negative", "conntrack: {tcpCloseWaitTimeout: -1s}", "conntrack.tcpCloseWaitTimeout"),
		bad("conntrack.udpTimeout negative", "conntrack: {udpTimeout: -1s}", "conntrack.udpTimeout"),
		bad("conntrack.udpStreamTimeout negative", "conntrack: {udpStreamTimeout: -1s}", "conntrack.udpStreamTimeout"),
		f("configSyncPeriod", "configSyncPeriod: 1s"),
		bad("configSyncPeriod negative", "configSyncPeriod: -1s", "configSyncPeriod"),
	}
}

// takeoverRows are what kube-proxy is started with in the field.
func takeoverRows() []row {
	return []row{
		{name: "kubeadm", file: kubeadm, args: "--hostname-override=node-1"},
		// cluster/gce/gci/configure-helper.sh, with cluster/gce/manifests/kube-proxy.manifest.
		byArgs("GCE", "--master=https://kubernetes-master --kubeconfig=/var/lib/kube-proxy/kubeconfig --cluster-cidr=10.64.0.0/14 --oom-score-adj=-998 --v=2 "+
			"--feature-gates=AllAlpha=false,APIResponseCompression=false --proxy-mode=iptables --iptables-sync-period=1m --iptables-min-sync-period=10s --detect-local-mode=NodeCIDR"),
		byArgs("GCE with an unset variable", "--master=https://kubernetes-master --kubeconfig=/var/lib/kube-proxy/kubeconfig  --oom-score-adj=-998 --v=2"),
	}
}
