package ruleset

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"espalier/proxier/ipproto"
)

// Limits of the kernel and of iptables on the texts in a rule.
const (
	maxComment   = 255 // XT_MAX_COMMENT_LEN is 256 with the final NUL
	maxInterface = 15  // IFNAMSIZ is 16
	maxRecent    = 199 // XT_RECENT_NAME_LEN is 200
	maxAcct      = 31  // NFACCT_NAME_MAX is 32
)

// Validate says what is wrong with the chain name, if anything: it must be safe as one word of
// iptables-restore input.
func (c Chain) Validate() error {
	if c.Table > Nat {
		return fmt.Errorf("chain %q: unknown table", c.Name)
	}
	if err := checkWord(c.Name, MaxChainName); err != nil {
		return fmt.Errorf("chain name %q: %w", c.Name, err)
	}
	return nil
}

// Validate says why the rule must not be written for the family, if so: a text that iptables-restore would
// refuse or misread, a field that needs another one, or a value that would not be read back as it was written,
// so that every comparison with the kernel would find a difference.
func (r Rule) Validate(f ipproto.Family) error {
	if r.Foreign != "" {
		return r.validateForeign()
	}
	return errors.Join(r.validateAddresses(f), r.validateMatches(), r.validateTarget(f))
}

func (r Rule) validateForeign() error {
	bare := Rule{Foreign: r.Foreign, Jump: r.Jump, Comment: r.Comment}
	if r != bare {
		return errors.New("a rule in foreign words has other fields too")
	}
	return checkText(r.Foreign, len(r.Foreign))
}

func (r Rule) validateAddresses(f ipproto.Family) error {
	for _, p := range []struct {
		name   string
		prefix netip.Prefix
		not    bool
	}{{"source", r.Src, r.NotSrc}, {"destination", r.Dst, r.NotDst}, {"original destination", r.OrigDst, false}} {
		switch {
		case p.prefix == (netip.Prefix{}):
			if p.not {
				return fmt.Errorf("inverted %s without a prefix", p.name)
			}
		case !p.prefix.IsValid() || p.prefix != p.prefix.Masked():
			return fmt.Errorf("%s %v is not a masked prefix", p.name, p.prefix)
		case p.prefix.Addr().Is4In6() || ipproto.FamilyOf(p.prefix.Addr()) != f:
			return fmt.Errorf("%s %v is not %v", p.name, p.prefix, f)
		case p.prefix.Bits() == 0:
			return fmt.Errorf("%s %v is every address: leave it out", p.name, p.prefix)
		}
	}
	return nil
}

func (r Rule) validateMatches() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	check := func(what, s string, limit int, check func(string, int) error) {
		if err := check(s, limit); err != nil {
			bad("%s %q: %w", what, s, err)
		}
	}
	if r.Comment != "" {
		check("comment", r.Comment, maxComment, checkComment)
	}
	if r.In != "" {
		check("interface", r.In, maxInterface, checkInterface)
	} else if r.NotIn {
		bad("inverted interface without a name")
	}
	if r.Proto != ipproto.UnknownProto && r.Proto.String() == "unknown" {
		bad("unknown protocol %d", r.Proto)
	}
	if r.DstPorts != (Ports{}) && r.Proto == ipproto.UnknownProto {
		bad("ports %v without a protocol", r.DstPorts)
	}
	if r.DstPorts.First > r.DstPorts.Last {
		bad("ports %v are not a range", r.DstPorts)
	}
	if r.DstPorts == (Ports{0, 65535}) {
		bad("ports %v are all ports: leave them out", r.DstPorts)
	}
	if r.States >= StateDNAT<<1 {
		bad("unknown conntrack states %#x", uint8(r.States))
	}
	if r.NotStates && r.States == 0 {
		bad("inverted conntrack states without any")
	}
	if r.NotMark && r.Mark == (Mark{}) {
		bad("inverted mark without a mark")
	}
	if r.Mark.Value&^r.Mark.Mask != 0 {
		bad("mark %#x/%#x never matches", r.Mark.Value, r.Mark.Mask)
	}
	if r.Share != (Share{}) && NewShare(int(r.Share.Num), int(r.Share.Den)) != r.Share {
		bad("share %d/%d is not one that NewShare returns", r.Share.Num, r.Share.Den)
	}
	if r.Recent != (Recent{}) {
		if err := r.Recent.validate(); err != nil {
			bad("recent list %q: %w", r.Recent.List, err)
		}
	}
	if r.Acct != "" {
		check("nfacct object", r.Acct, maxAcct, checkWord)
	}
	return errors.Join(errs...)
}

func (r Rule) validateTarget(f ipproto.Family) error {
	to := r.To.IsValid() && r.To.Port() != 0
	switch {
	case r.Jump == DNAT && !to:
		return errors.New("DNAT without address and port")
	case r.Jump == DNAT && r.Proto == ipproto.UnknownProto:
		return fmt.Errorf("DNAT to %v without a protocol", r.To)
	case r.Jump == DNAT && (r.To.Addr().Is4In6() || r.To.Addr().Zone() != "" || ipproto.FamilyOf(r.To.Addr()) != f):
		return fmt.Errorf("DNAT to %v, which is not %v", r.To, f)
	case r.Jump != DNAT && r.To != (netip.AddrPort{}):
		return fmt.Errorf("address %v for %q, which is not DNAT", r.To, r.Jump)
	case r.Jump == MarkTarget && r.SetMark == (Mark{}):
		return errors.New("MARK without a mark")
	case r.Jump != MarkTarget && r.SetMark != (Mark{}):
		return fmt.Errorf("a mark to set for %q, which is not MARK", r.Jump)
	case r.Jump != "":
		if err := checkWord(r.Jump, MaxChainName); err != nil {
			return fmt.Errorf("target %q: %w", r.Jump, err)
		}
	}
	return nil
}

func (r Recent) validate() error {
	if err := checkWord(r.List, maxRecent); err != nil {
		return err
	}
	switch {
	case !r.Check && !r.Set:
		return errors.New("neither asked nor set")
	case r.Check && r.Seconds == 0:
		return errors.New("asked for an age of zero seconds")
	case !r.Check && r.Seconds != 0:
		return errors.New("an age without asking")
	}
	return nil
}

// checkText accepts what cannot break a line of iptables-restore input.
func checkText(s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("longer than %d bytes", limit)
	}
	for _, c := range []byte(s) {
		if c < ' ' || c == 0x7f {
			return fmt.Errorf("control character %q", c)
		}
	}
	return nil
}

// checkComment accepts what may stand between double quotes without escapes.
func checkComment(s string, limit int) error {
	if i := strings.IndexAny(s, `"\`); i >= 0 {
		return fmt.Errorf("character %q cannot be quoted", s[i])
	}
	return checkText(s, limit)
}

// checkWord accepts what can be one unquoted word, and no option.
func checkWord(s string, limit int) error {
	if s == "" {
		return errors.New("empty")
	}
	if s[0] == '-' || s[0] == '!' {
		return fmt.Errorf("begins with %q", s[0])
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\'' || c == '\\' {
			return fmt.Errorf("character %q in a name", c)
		}
	}
	return checkText(s, limit)
}

func checkInterface(s string, limit int) error {
	if s == "+" {
		return errors.New("every interface: leave it out")
	}
	if strings.ContainsAny(s, "/:") {
		return errors.New("no interface has such a name")
	}
	return checkWord(s, limit)
}
