package netns

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// steadyTakeover: kube-proxy's rules are replaced by ours, and ours by kube-proxy's, and nobody notices.
func steadyTakeover(t *testing.T, s *site) {
	t.Helper()
	files, streams := basics()
	s.putAll(t, files)
	s.start(t)
	clean := s.saved(t)
	s.stop(t)
	for _, table := range []string{"nat", "filter"} {
		for _, what := range []string{"-F", "-X"} {
			s.on(t, "", s.kernel.Command, "-w", "5", "-t", table, what)
		}
	}
	reference := newReference()
	s.on(t, reference.payload(nil)+reference.jumps(), s.kernel.RestoreCommand, "-w", "5", "--noflush")
	clients := s.connect(t, nothing, streams)
	clients.some(t, streams)
	s.start(t)
	clients.some(t, streams)
	s.checkTakenOver(t, clean, reference)
	s.stop(t)
	s.on(t, reference.payload(s.saved(t).Rules), s.kernel.RestoreCommand, "-w", "5", "--noflush", "--counters")
	clients.some(t, streams)
	for c := range s.saved(t).Rules {
		if c.Table == ruleset.Nat && perService(c.Name) && !reference.has(c.Name) {
			t.Errorf("kube-proxy left %s of ours", c.Name)
		}
	}
	s.start(t)
	clients.some(t, streams)
	clients.stop(t)
	s.checkTakenOver(t, clean, reference)
}

// checkTakenOver wants exactly what stands after a start on a node without rules.
func (s *site) checkTakenOver(t *testing.T, clean ruleset.Saved, reference reference) {
	t.Helper()
	if why := s.other(t, clean); why != "" {
		t.Error(why)
	}
	for c := range s.saved(t).Rules {
		if _, ours := clean.Rules[c]; !ours && reference.has(c.Name) {
			t.Errorf("%v of kube-proxy is left", c)
		}
	}
}

// perService reports whether a chain is one that kube-proxy deletes when it finds it stale.
func perService(name string) bool {
	return slices.ContainsFunc([]string{"KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// reference is the rules of kube-proxy's iptables mode for the Services of basics, in its layout and its order.
type reference struct{ filter, nat []string }

func (r reference) has(chain string) bool {
	return slices.ContainsFunc(r.nat, func(rule string) bool { return strings.HasPrefix(rule, "-A "+chain+" ") })
}

func newReference() reference {
	r := reference{
		filter: []string{
			`-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP`,
			"-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
			`-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark 0x00004000/0x00004000 -j ACCEPT`,
			`-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
			"-A KUBE-NODEPORTS -m tcp -p tcp --dport 30002 -j ACCEPT",
			"-A KUBE-SERVICES -m tcp -p tcp -d 172.30.0.46 --dport 80 -j REJECT",
			"-A KUBE-EXTERNAL-SERVICES -m tcp -p tcp -d 192.168.99.22 --dport 80 -j DROP",
			"-A KUBE-EXTERNAL-SERVICES -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 3002 -j DROP",
			"-A KUBE-PROXY-FIREWALL -m tcp -p tcp -d 1.2.3.4 --dport 80 -j DROP",
		},
		nat: []string{
			"-A KUBE-POSTROUTING -m mark ! --mark 0x00004000/0x00004000 -j RETURN",
			"-A KUBE-POSTROUTING -j MARK --xor-mark 0x00004000",
			"-A KUBE-POSTROUTING -j MASQUERADE --random-fully",
			"-A KUBE-MARK-MASQ -j MARK --or-mark 0x00004000",
		},
	}
	one := r.service("ns1/one:p80", "172.30.0.41", endpointsFrom(1, 1))
	three := r.service("ns1/three:p80", "172.30.0.43", endpointsFrom(3, 3))
	hundred := r.service("ns1/hundred:p80", "172.30.0.44", endpointsFrom(100, 100))
	local := r.service("ns1/local:p80", "172.30.0.49", endpointsFrom(9, 2))
	_, _ = one, hundred
	r.nat = append(r.nat,
		"-A KUBE-EXT-"+three+" -j KUBE-MARK-MASQ",
		"-A KUBE-EXT-"+three+" -j KUBE-SVC-"+three,
		"-A KUBE-FW-"+three+" -s 203.0.113.0/25 -j KUBE-EXT-"+three,
		"-A KUBE-SERVICES -m tcp -p tcp -d 1.2.3.4 --dport 80 -j KUBE-FW-"+three,
		"-A KUBE-NODEPORTS -m tcp -p tcp --dport 3001 -j KUBE-EXT-"+three,
		"-A KUBE-EXT-"+local+" -s 10.0.0.0/8 -j KUBE-SVC-"+local,
		"-A KUBE-EXT-"+local+" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
		"-A KUBE-EXT-"+local+" -m addrtype --src-type LOCAL -j KUBE-SVC-"+local,
		"-A KUBE-SERVICES -m tcp -p tcp -d 192.168.99.22 --dport 80 -j KUBE-EXT-"+local,
		"-A KUBE-NODEPORTS -m tcp -p tcp --dport 3002 -j KUBE-EXT-"+local,
		"-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
	)
	return r
}

// service adds the chains of a cluster IP and returns the hash in their names.
func (r *reference) service(name, clusterIP string, endpoints []string) string {
	h := ruleset.Hash(name, "tcp")
	r.nat = append(r.nat,
		fmt.Sprintf(`-A KUBE-SERVICES -m comment --comment "%s cluster IP" -m tcp -p tcp -d %s --dport 80 -j KUBE-SVC-%s`, name, clusterIP, h),
		fmt.Sprintf("-A KUBE-SVC-%s -m tcp -p tcp -d %s --dport 80 ! -s 10.0.0.0/8 -j KUBE-MARK-MASQ", h, clusterIP))
	for i, e := range endpoints {
		sep := "KUBE-SEP-" + ruleset.Hash(name, "tcp", e+":80")
		share := ""
		if left := len(endpoints) - i; left > 1 {
			share = fmt.Sprintf(" -m statistic --mode random --probability %.10f", 1/float64(left))
		}
		r.nat = append(r.nat,
			"-A KUBE-SVC-"+h+share+" -j "+sep,
			"-A "+sep+" -s "+e+" -j KUBE-MARK-MASQ",
			"-A "+sep+" -m tcp -p tcp -j DNAT --to-destination "+e+":80")
	}
	return h
}

// payload is the input of a full sync, which deletes the stale chains among those that there are.
func (r reference) payload(have ruleset.Ruleset) string {
	var stale []string
	for c := range have {
		if c.Table == ruleset.Nat && perService(c.Name) && !r.has(c.Name) {
			stale = append(stale, c.Name)
		}
	}
	slices.Sort(stale)
	var b strings.Builder
	block := func(table string, rules, stale []string) {
		fmt.Fprintf(&b, "*%s\n", table)
		declared := map[string]bool{"INPUT": true, "FORWARD": true, "OUTPUT": true}
		for _, rule := range rules {
			if chain := strings.Fields(rule)[1]; !declared[chain] {
				declared[chain] = true
				fmt.Fprintf(&b, ":%s - [0:0]\n", chain)
			}
		}
		for _, chain := range stale {
			fmt.Fprintf(&b, ":%s - [0:0]\n", chain)
		}
		// The jump to the node ports is last.
		fmt.Fprintln(&b, strings.Join(rules[:len(rules)-1], "\n"))
		for _, chain := range stale {
			fmt.Fprintln(&b, "-X "+chain)
		}
		fmt.Fprintf(&b, "%s\nCOMMIT\n", rules[len(rules)-1])
	}
	block("filter", r.filter, nil)
	block("nat", r.nat, stale)
	return b.String()
}

// jumps attach the rules; kube-proxy inserts each one by itself, in this order.
func (r reference) jumps() string {
	var b strings.Builder
	for _, table := range []ruleset.Table{ruleset.Filter, ruleset.Nat} {
		fmt.Fprintf(&b, "*%v\n", table)
		for _, j := range ruleset.Jumps() {
			if j.From.Table == table {
				fmt.Fprintf(&b, "-I %s 1 %s\n", j.From.Name, j.Rule.Text(ipproto.IPv4))
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}
