package syncer

import (
	"slices"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
)

// attached reports whether packets go through rules of ours, or of kube-proxy.
func attached(have ruleset.Ruleset) bool {
	for _, j := range ruleset.Jumps() {
		if j.From.Table == ruleset.Nat && slices.Contains(have[j.From], j.Rule) {
			return true
		}
	}
	return false
}

// vital returns the Services that others wait for, which are served before a large cluster is loaded: the API
// server and the cluster's DNS, whatever its Service is called.
func vital(s model.Snapshot) model.Snapshot {
	first := s
	first.Services = map[model.ServiceName]model.Entry{}
	for name, e := range s.Services {
		if name == (model.ServiceName{Namespace: "default", Name: "kubernetes"}) ||
			name.Namespace == "kube-system" && slices.ContainsFunc(e.Service.Ports, isDNS) {
			first.Services[name] = e
		}
	}
	return first
}

func isDNS(p model.ServicePort) bool { return p.Port == 53 && p.Proto == ipproto.UDP }
