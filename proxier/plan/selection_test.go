package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"espalier/proxier/model"
	"espalier/proxier/plan"
)

// The rows are those of TestCategorizeEndpoints in kube-proxy (pkg/proxy/topology_test.go). Endpoints a, b, c
// and d are written as the function endpoints reads them, with the letter for the address. A set is "nil" where
// no traffic follows the policy. Node hints are always honoured here: their feature gate is locked.
func TestSelect(t *testing.T) {
	const (
		zones  = "a R z=A, b R z=B, c R z=C, d R z=A"
		local  = "a Rl z=A, b Rl z=B, c R z=C, d R z=A"
		nodes  = "a R z=A n=node-1, b R z=B n=node-2, c R z=C n=node-3, d R z=A n=node-4"
		etp    = "ETP Local"
		itp    = "ITP Local"
		public = "NodePort"
	)
	for _, tt := range []struct {
		row            int
		policy         string
		node, zone     string
		endpoints      string
		cluster, local string
		reach          string
		any            bool
	}{
		{1, "", "", "A", zones, "a d", "nil", "a d", true},
		{2, etp + public, "", "A", local, "a d", "a b", "a b d", true},
		{3, itp + public, "", "A", local, "a d", "a b", "a b d", true},
		{4, "", "", "", "a R z=A", "a", "nil", "a", true},
		{5, "", "node-0", "", "a R z=A", "a", "nil", "a", true},
		{6, "", "", "B", "a R z=A", "a", "nil", "a", true},
		{7, "", "", "A", "a R z=A, b R z=B, c R z=C, d X z=A", "a", "nil", "a", true},
		{8, "", "", "A", "a X z=A, b R z=B, c R z=C, d X z=A", "b c", "nil", "b c", true},
		{9, "", "", "A", "a R z=A, b R z=B, c R, d R z=A", "a b c d", "nil", "a b c d", true},
		{10, "", "", "C", "a R z=A z=B z=C, b R z=B z=C, c R z=B z=D, d R z=C", "a b d", "nil", "a b d", true},
		// Row 11 switches node hints off by a feature gate that no longer exists.
		{12, "", "node-1", "A", nodes, "a", "nil", "a", true},
		{13, "", "node-1", "A", "a R z=A n=node-1, b R, c R z=C n=node-3, d R z=A n=node-4", "a b c d", "nil", "a b c d", true},
		{14, "", "node-0", "A", nodes, "a d", "nil", "a d", true},
		{15, etp + public, "", "A", "a Rl z=A, b Rl z=B, c R z=A, d R z=B", "a c", "a b", "a b c", true},
		{16, itp, "", "", "", "nil", "empty", "empty", false},
		{17, itp, "", "", "a R, b R", "nil", "empty", "empty", true},
		{18, itp, "", "", "a Rl, b Rl", "nil", "a b", "a b", true},
		{19, itp, "", "", "a Rl, b R", "nil", "a", "a", true},
		{20, "", "", "", "a X, b X", "empty", "nil", "empty", false},
		{21, "", "", "", "a X, b R", "b", "nil", "b", true},
		{22, "", "", "", "a Dl, b D", "a b", "nil", "a b", true},
		{23, itp + public, "", "", "a Rl, b R", "a b", "a", "a b", true},
		{24, etp + public, "", "", "a Rl, b R", "a b", "a", "a b", true},
		{25, itp + etp + public, "", "", "a Rl, b R", "a b", "a", "a b", true},
		{26, itp + etp + public, "", "", "a R, b R", "a b", "empty", "a b", true},
		{27, itp + etp + public, "", "", "a D, b D", "a b", "empty", "a b", true},
		{28, etp + public, "", "", "a R, b Xl, c Dl, d D", "a", "c", "a c", true},
		{29, etp, "", "", "a R, b Rl", "a b", "nil", "a b", true},
		{30, itp, "", "", "a R, b Rl", "nil", "b", "b", true},
		{31, "", "", "", "", "nil", "nil", "empty", false},
		{32, "", "", "A", "a X", "empty", "nil", "empty", false},

		// Not in that table: conditions that only odd writers of EndpointSlices make.
		{33, "", "", "", "a -, b R", "b", "nil", "b", true},          // serving, but neither ready nor terminating
		{34, "", "", "", "a -, b -", "empty", "nil", "empty", false}, // the same without a better one
		{35, etp + public, "", "", "a -l, b R", "b", "empty", "b", true},
		{36, "", "node-1", "A", "a R n=node-1, b R n=node-2", "a", "nil", "a", true},         // node hints alone
		{37, "", "", "A", "a D z=A, b D z=B", "a b", "nil", "a b", true},                     // a fallback ignores hints
		{38, "", "", "A", "a R z=A, b R z=B, c D", "a", "nil", "a", true},                    // only ready ones must have hints
		{39, "", "node-1", "A", "a R z=A n=node-2, b D z=A n=node-1", "a", "nil", "a", true}, // and only ready ones make them count
	} {
		t.Run(fmt.Sprint(tt.row), func(t *testing.T) {
			svc := &model.Service{InternalLocal: strings.Contains(tt.policy, itp), ExternalLocal: strings.Contains(tt.policy, etp)}
			var p model.ServicePort
			if strings.Contains(tt.policy, public) {
				p.NodePort = 30000
			}
			sel := plan.Select(svc, p, lettered(tt.endpoints), model.Node{Name: tt.node, Zone: tt.zone})

			if got := letters(sel.Cluster); got != tt.cluster {
				t.Errorf("for policy Cluster: %s, want %s", got, tt.cluster)
			}
			// Empty is as good as nil where the policy is in use.
			if got := letters(sel.Local); got != tt.local && (tt.local != "empty" || len(sel.Local) > 0) {
				t.Errorf("for policy Local: %s, want %s", got, tt.local)
			}
			if got := letters(sel.Reachable()); got != tt.reach && (tt.reach != "empty" || len(sel.Reachable()) > 0) {
				t.Errorf("reachable: %s, want %s", got, tt.reach)
			}
			if sel.Any != tt.any {
				t.Errorf("any: %v, want %v", sel.Any, tt.any)
			}
		})
	}
}

// lettered reads endpoints whose addresses are letters: a is 10.0.0.1.
func lettered(s string) []model.Endpoint {
	if s == "" {
		return nil
	}
	return endpoints(strings.NewReplacer("a ", "10.0.0.1 ", "b ", "10.0.0.2 ", "c ", "10.0.0.3 ", "d ", "10.0.0.4 ").Replace(s), 80)
}

func letters(eps []model.Endpoint) string {
	if len(eps) == 0 {
		return map[bool]string{true: "nil", false: "empty"}[eps == nil]
	}
	var all []string
	for _, e := range eps {
		all = append(all, string("abcd"[e.Addr.Addr().As4()[3]-1]))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
