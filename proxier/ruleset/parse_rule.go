package ruleset

import (
	"net/netip"

	"espalier/proxier/ipproto"
)

// rule reads what follows "-A CHAIN " in the line.
func (p *parser) rule(line []byte, spec []word) Rule {
	s := spelling{intern: p.intern, rest: spec}
	if s.read() {
		return s.rule
	}
	r := Rule{Jump: s.rule.Jump, Comment: s.rule.Comment}
	if len(spec) > 0 {
		r.Foreign = string(line[spec[0].start:])
	}
	return r
}

// spelling reads the words of one rule. Options are told apart by their names alone, which is unambiguous in
// the vocabulary of Rule; an unknown one makes the rule a foreign one.
type spelling struct {
	intern func([]byte) string
	rest   []word

	rule    Rule
	not     bool // the last word was "!"
	foreign bool
	stage   stage
	asked   bool // a match was named that has no option yet
	module  ipproto.Proto
	random  bool // --mode random without --probability so far
	recent  recentWords
	target  bool // the options of the target are complete
}

// stage is how far the matches with a memory have come. Their order is part of the meaning (a packet that a
// later match refuses has been entered in the list), so a rule that has another order is not one of ours.
type stage uint8

const (
	stagePlain stage = iota
	stageShare
	stageCheck
	stageSet
	stageAcct
)

// recentWords are the options of one -m recent.
type recentWords struct {
	open, check, set, reap bool
	name                   string
	seconds                uint32
}

// read returns false if the rule cannot be said with the fields of Rule. Then Jump and Comment are still good.
func (s *spelling) read() bool {
	for len(s.rest) > 0 {
		w := s.rest[0].text
		s.rest = s.rest[1:]
		if string(w) == "!" {
			s.fail(s.not)
			s.not = true
			continue
		}
		s.option(w)
		s.fail(s.not) // nobody took it
		s.not = false
	}
	s.closeMatch()
	s.fail(s.not || !s.target && needsOptions(s.rule.Jump))
	s.fail(s.module != 0 && s.module != s.rule.Proto)
	return !s.foreign && s.rule.Validate(s.family()) == nil
}

// fail marks the rule as foreign on a condition; reading goes on, for the sake of Jump and Comment.
func (s *spelling) fail(cond bool) { s.foreign = s.foreign || cond }

// value returns the argument of an option.
func (s *spelling) value() []byte {
	if len(s.rest) == 0 {
		s.foreign = true
		return nil
	}
	w := s.rest[0].text
	s.rest = s.rest[1:]
	s.fail(len(w) == 0)
	return w
}

// inverted takes the "!" before the option.
func (s *spelling) inverted() bool {
	not := s.not
	s.not = false
	return not
}

func (s *spelling) option(w []byte) {
	r := &s.rule
	switch string(w) {
	case "-s":
		r.NotSrc, r.Src = s.inverted(), s.prefix(r.Src)
	case "-d":
		r.NotDst, r.Dst = s.inverted(), s.prefix(r.Dst)
	case "-i":
		s.fail(r.In != "")
		r.NotIn, r.In = s.inverted(), s.intern(s.value())
	case "-p":
		s.fail(r.Proto != ipproto.UnknownProto)
		r.Proto = protoOf(s.value())
		s.fail(r.Proto == ipproto.UnknownProto)
	case "-m":
		s.match(s.value())
	case "-j":
		s.fail(r.Jump != "")
		s.closeMatch()
		r.Jump = s.intern(s.value())
	case "-g", "--goto", "--jump":
		s.foreign = true
		r.Jump = s.intern(s.value())
	case "--comment":
		s.asked = false
		s.fail(r.Comment != "")
		r.Comment = s.intern(s.value())
	default:
		s.matchOption(w)
	}
}

// prefix reads the argument of -s, -d or --ctorigdst. A prefix of length zero constrains nothing; inverted, it
// would match nothing, which Validate does not let pass.
func (s *spelling) prefix(old netip.Prefix) netip.Prefix {
	p, ok := parsePrefix(s.value())
	s.fail(!ok || old.IsValid())
	if ok && p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p
}

// match begins a match.
func (s *spelling) match(name []byte) {
	s.closeMatch()
	switch string(name) {
	case "tcp", "udp", "sctp":
		proto := protoOf(name)
		s.fail(s.module != 0 && s.module != proto)
		s.module = proto
	case "recent":
		s.recent = recentWords{open: true}
	case "comment", "addrtype", "conntrack", "bpf", "mark", "statistic", "nfacct":
		s.asked = true
	default:
		s.foreign = true
	}
}

// plain is called for matches without a memory.
func (s *spelling) plain() {
	s.asked = false
	s.fail(s.stage != stagePlain)
}

// enter is called for matches with a memory.
func (s *spelling) enter(to stage) {
	s.asked = false
	s.fail(s.stage >= to)
	s.stage = to
}

func (s *spelling) matchOption(w []byte) {
	r := &s.rule
	var ok bool
	switch string(w) {
	case "--dport":
		s.plain()
		s.fail(r.DstPorts != (Ports{}) || s.module == 0)
		r.DstPorts, ok = parsePorts(s.value())
		s.fail(!ok || r.DstPorts == (Ports{}))
	case "--src-type":
		s.plain()
		r.SrcLocal = true
		s.fail(string(s.value()) != "LOCAL")
	case "--dst-type":
		s.plain()
		r.DstLocal = true
		s.fail(string(s.value()) != "LOCAL")
	case "--ctstate":
		s.plain()
		s.fail(r.States != 0)
		r.NotStates = s.inverted()
		r.States, ok = parseStates(s.value())
		s.fail(!ok)
	case "--ctorigdst":
		s.plain()
		r.OrigDst = s.prefix(r.OrigDst)
		s.fail(!r.OrigDst.IsValid())
	case "--bytecode":
		s.plain()
		code := s.value()
		r.Hairpin = string(code) == hairpinCode(ipproto.IPv4) || string(code) == hairpinCode(ipproto.IPv6)
		s.fail(!r.Hairpin)
	case "--mark":
		s.plain()
		s.fail(r.Mark != (Mark{}))
		r.NotMark = s.inverted()
		r.Mark, ok = parseMark(s.value())
		s.fail(!ok || r.Mark == (Mark{}))
	case "--mode":
		s.enter(stageShare)
		s.random = true
		s.fail(string(s.value()) != "random")
	case "--probability":
		s.fail(!s.random)
		s.random = false
		r.Share, ok = parseShare(string(s.value()))
		s.fail(!ok)
	case "--nfacct-name":
		s.enter(stageAcct)
		r.Acct = s.intern(s.value())
	default:
		if !s.recentOption(w) {
			s.targetOption(w)
		}
	}
}

// recentOption reads an option of -m recent.
func (s *spelling) recentOption(w []byte) bool {
	if !s.recent.open {
		return false
	}
	switch string(w) {
	case "--name":
		s.recent.name = s.intern(s.value())
	case "--rcheck":
		s.recent.check = true
	case "--set":
		s.recent.set = true
	case "--reap":
		s.recent.reap = true
	case "--seconds":
		var ok bool
		s.recent.seconds, ok = number(s.value())
		s.fail(!ok)
	case "--mask": // of the address; printed always
		m := string(s.value())
		s.fail(m != "255.255.255.255" && m != "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
	case "--rsource":
	default:
		return false
	}
	return true
}

// closeMatch is called where the options of a match end.
func (s *spelling) closeMatch() {
	s.fail(s.asked || s.random)
	s.asked, s.random = false, false
	if !s.recent.open {
		return
	}
	got, r := s.recent, &s.rule.Recent
	s.recent = recentWords{}
	s.fail(got.name == "" || r.List != "" && r.List != got.name)
	r.List = got.name
	switch {
	case got.check && got.reap && !got.set:
		s.enter(stageCheck)
		r.Check, r.Seconds = true, got.seconds
	case got.set && !got.check && !got.reap && got.seconds == 0:
		s.enter(stageSet)
		r.Set = true
	default:
		s.foreign = true
	}
}

// needsOptions reports whether a target means something else, or nothing, without its options.
func needsOptions(target string) bool {
	return target == DNAT || target == MarkTarget || target == Masquerade
}

func (s *spelling) targetOption(w []byte) {
	r := &s.rule
	s.fail(s.target) // one is enough for all targets that we know
	s.target = true
	var ok bool
	switch r.Jump + " " + string(w) {
	case "DNAT --to-destination":
		r.To, ok = parseAddrPort(s.value())
	case "MASQUERADE --random-fully":
		ok = true
	case "REJECT --reject-with": // what REJECT does by itself; iptables-save says it
		v := string(s.value())
		ok = v == "icmp-port-unreachable" || v == "icmp6-port-unreachable"
	case "MARK --set-xmark":
		r.SetMark, ok = parseMark(s.value())
	case "MARK --set-mark":
		r.SetMark, ok = parseMark(s.value())
		r.SetMark.Mask |= r.SetMark.Value
	case "MARK --or-mark":
		r.SetMark.Value, ok = number(s.value())
		r.SetMark.Mask = r.SetMark.Value
	case "MARK --and-mark":
		r.SetMark.Mask, ok = number(s.value())
		r.SetMark.Mask = ^r.SetMark.Mask
	case "MARK --xor-mark":
		r.SetMark.Value, ok = number(s.value())
	}
	s.fail(!ok)
}

// family is that of the addresses in the rule.
func (s *spelling) family() ipproto.Family {
	r := &s.rule
	for _, a := range []netip.Addr{r.Src.Addr(), r.Dst.Addr(), r.OrigDst.Addr(), r.To.Addr()} {
		if a.IsValid() {
			return ipproto.FamilyOf(a)
		}
	}
	return ipproto.IPv4
}

func protoOf(b []byte) ipproto.Proto {
	switch string(b) {
	case "tcp", "6":
		return ipproto.TCP
	case "udp", "17":
		return ipproto.UDP
	case "sctp", "132":
		return ipproto.SCTP
	}
	return ipproto.UnknownProto
}
