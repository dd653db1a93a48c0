package ruleset

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"espalier/proxier/ipproto"
)

// hairpinCode is the xt_bpf program "source address equals destination address". The program sees the packet
// from its network header on: load the source, store it, load the destination, compare, for each 32-bit word.
// For IPv6 the source is at offset 8 and the destination at 24.
//
// Each instruction is "code jt jf k": the comparison (29, jeq x) goes on with the next one if the words are
// equal, and skips jf instructions, to the final "no", if they differ. A k in place of jf is taken by the kernel
// without complaint, and matches every packet.
func hairpinCode(f ipproto.Family) string {
	if f == ipproto.IPv4 {
		return "7,32 0 0 12,2 0 0 0,32 0 0 16,97 0 0 0,29 0 1 0,6 0 0 65535,6 0 0 0"
	}
	const words = 4
	n := 5*words + 2
	var b strings.Builder
	b.WriteString(strconv.Itoa(n))
	for w := range words {
		// ld [8+4w]; st M[0]; ld [24+4w]; ldx M[0]; jeq x, next, fail
		fail := 5*(words-1-w) + 1
		fmt.Fprintf(&b, ",32 0 0 %d,2 0 0 0,32 0 0 %d,97 0 0 0,29 0 %d 0", 8+4*w, 24+4*w, fail)
	}
	b.WriteString(",6 0 0 65535,6 0 0 0")
	return b.String()
}

var stateNames = []struct {
	bit  States
	name string
}{
	{StateInvalid, "INVALID"}, {StateNew, "NEW"}, {StateRelated, "RELATED"}, {StateEstablished, "ESTABLISHED"}, {StateDNAT, "DNAT"},
}

// String returns the states as --ctstate takes them.
func (s States) String() string {
	var names []string
	for _, n := range stateNames {
		if s&n.bit != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

// Append adds the rule to b as iptables takes it after "-A CHAIN ", without a line break. The family decides
// only how a hairpin is recognised.
//
// The matches are written in a fixed order; those whose order matters (share before recent: only who is chosen
// is remembered) stand as the reference has them.
func (r Rule) Append(b []byte, f ipproto.Family) []byte {
	start := len(b)
	word := func(words ...string) {
		for _, w := range words {
			if len(b) > start {
				b = append(b, ' ')
			}
			b = append(b, w...)
		}
	}
	not := func(cond bool) {
		if cond {
			word("!")
		}
	}
	if r.Foreign != "" {
		word(r.Foreign)
		return b
	}
	if r.Comment != "" {
		word("-m", "comment", "--comment", `"`+r.Comment+`"`)
	}
	if r.Src.IsValid() {
		not(r.NotSrc)
		word("-s", prefixText(r.Src))
	}
	if r.Dst.IsValid() {
		not(r.NotDst)
		word("-d", prefixText(r.Dst))
	}
	if r.In != "" {
		not(r.NotIn)
		word("-i", r.In)
	}
	if r.Proto != ipproto.UnknownProto {
		word("-p", r.Proto.String())
		if r.DstPorts != (Ports{}) {
			word("-m", r.Proto.String(), "--dport", r.DstPorts.String())
		}
	}
	if r.SrcLocal {
		word("-m", "addrtype", "--src-type", "LOCAL")
	}
	if r.DstLocal {
		word("-m", "addrtype", "--dst-type", "LOCAL")
	}
	if r.States != 0 || r.OrigDst.IsValid() {
		word("-m", "conntrack")
		if r.States != 0 {
			not(r.NotStates)
			word("--ctstate", r.States.String())
		}
		if r.OrigDst.IsValid() {
			word("--ctorigdst", prefixText(r.OrigDst))
		}
	}
	if r.Hairpin {
		word("-m", "bpf", "--bytecode", `"`+hairpinCode(f)+`"`)
	}
	if r.Mark != (Mark{}) {
		word("-m", "mark")
		not(r.NotMark)
		word("--mark", fmt.Sprintf("%#08x/%#08x", r.Mark.Value, r.Mark.Mask))
	}
	if r.Share != (Share{}) {
		word("-m", "statistic", "--mode", "random", "--probability", r.Share.String())
	}
	if r.Recent.Check {
		word("-m", "recent", "--name", r.Recent.List, "--rcheck", "--seconds", strconv.FormatUint(uint64(r.Recent.Seconds), 10), "--reap")
	}
	if r.Recent.Set {
		word("-m", "recent", "--name", r.Recent.List, "--set")
	}
	if r.Acct != "" {
		word("-m", "nfacct", "--nfacct-name", r.Acct)
	}
	if r.Jump != "" {
		word("-j", r.Jump)
	}
	switch r.Jump {
	case DNAT:
		word("--to-destination", r.To.String())
	case Masquerade:
		word("--random-fully")
	case MarkTarget:
		word(r.SetMark.target()...)
	}
	return b
}

// Text returns the rule as Append writes it.
func (r Rule) Text(f ipproto.Family) string { return string(r.Append(nil, f)) }

// String returns the range as --dport takes it.
func (p Ports) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return strconv.Itoa(int(p.First)) + ":" + strconv.Itoa(int(p.Last))
}

// target returns the arguments of -j MARK.
func (m Mark) target() []string {
	switch {
	case m.Value == m.Mask:
		return []string{"--or-mark", fmt.Sprintf("%#08x", m.Value)}
	case m.Mask == 0:
		return []string{"--xor-mark", fmt.Sprintf("%#08x", m.Value)}
	}
	return []string{"--set-xmark", fmt.Sprintf("%#08x/%#08x", m.Value, m.Mask)}
}

// prefixText leaves out the length of a prefix that is a whole address.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
