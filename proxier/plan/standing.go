package plan

import (
	"net/netip"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// Standing returns what rules that stand in a kernel do with a protocol: to which endpoints they send what clients send
// to a frontend. These may be rules of ours or of kube-proxy; a Service's name is not needed, so it is not looked for.
// A node port has the zero Addr. Frontends without endpoints are left out.
func Standing(rules ruleset.Ruleset, proto ipproto.Proto) map[netip.AddrPort][]netip.AddrPort {
	s := standing{rules: rules, proto: proto, seen: map[string]bool{}, ends: map[string]targets{}, found: map[netip.AddrPort]targets{}}
	s.walk(ruleset.NodePorts, true) // before the chain that jumps to it
	s.walk(ruleset.Services, false)
	found := make(map[netip.AddrPort][]netip.AddrPort, len(s.found))
	for frontend, to := range s.found {
		for addr := range to {
			found[frontend] = append(found[frontend], addr)
		}
	}
	return found
}

type standing struct {
	rules ruleset.Ruleset
	proto ipproto.Proto
	seen  map[string]bool    // chains that were walked
	ends  map[string]targets // where a chain sends packets to, with all that it jumps to
	found map[netip.AddrPort]targets
}

type targets map[netip.AddrPort]bool

// walk looks for frontends in a chain and in those that it jumps to. What is told by one port is a frontend: of one
// address, or, below the chain of node ports, of those of the node.
func (s *standing) walk(chain string, nodePorts bool) {
	if s.seen[chain] {
		return
	}
	s.seen[chain] = true
	for _, r := range s.rules[ruleset.Chain{Table: ruleset.Nat, Name: chain}] {
		switch to, jumps := r.JumpsTo(); {
		case r.Proto == s.proto && r.DstPorts.First != 0 && r.DstPorts.First == r.DstPorts.Last:
			one := r.Dst.IsSingleIP() && !r.NotDst
			switch {
			case one:
				s.add(netip.AddrPortFrom(r.Dst.Addr(), r.DstPorts.First), r)
			case nodePorts:
				s.add(netip.AddrPortFrom(netip.Addr{}, r.DstPorts.First), r)
			}
		case jumps && (r.Proto == s.proto || r.Proto == ipproto.UnknownProto):
			s.walk(to, nodePorts)
		}
	}
}

// add notes where a rule sends what comes to a frontend.
func (s *standing) add(frontend netip.AddrPort, r ruleset.Rule) {
	for to := range s.of(r) {
		if s.found[frontend] == nil {
			s.found[frontend] = targets{}
		}
		s.found[frontend][to] = true
	}
}

// of returns where a rule sends packets to.
func (s *standing) of(r ruleset.Rule) targets {
	if r.Jump == ruleset.DNAT {
		return targets{r.To: true}
	}
	chain, jumps := r.JumpsTo()
	if !jumps {
		return nil
	}
	if known, ok := s.ends[chain]; ok {
		return known
	}
	all := targets{}
	s.ends[chain] = all // the kernel takes no loops, but this may be a text
	for _, inner := range s.rules[ruleset.Chain{Table: ruleset.Nat, Name: chain}] {
		for to := range s.of(inner) {
			all[to] = true
		}
	}
	return all
}
