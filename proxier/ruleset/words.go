package ruleset

import (
	"bytes"
	"net/netip"
	"strings"
)

// word is one argument in a line.
type word struct {
	text  []byte // without quotes and escapes
	start int    // where it begins in the line
}

// words splits lines as iptables-restore does: at blanks, with double quotes around what contains some, and a
// backslash within them before a character that stands for itself.
type words struct {
	list    []word
	scratch []byte // texts that had escapes
}

// split fills list with the words of the line, which it refers to; false if a quote is not closed.
func (w *words) split(line []byte) bool {
	w.list, w.scratch = w.list[:0], w.scratch[:0]
	for i := 0; ; {
		for i < len(line) && blank(line[i]) {
			i++
		}
		if i == len(line) {
			return true
		}
		start := i
		for i < len(line) && !blank(line[i]) && line[i] != '"' {
			i++
		}
		if i == len(line) || line[i] != '"' {
			w.list = append(w.list, word{line[start:i], start})
			continue
		}
		text, end, ok := w.unquote(line, start)
		if !ok {
			return false
		}
		w.list = append(w.list, word{text, start})
		i = end
	}
}

// unquote reads a word that has quotes; end is where it ends.
func (w *words) unquote(line []byte, start int) (text []byte, end int, ok bool) {
	if line[start] == '"' { // mostly the quotes are around all of it, and nothing is escaped
		n := bytes.IndexByte(line[start+1:], '"')
		if n >= 0 && bytes.IndexByte(line[start+1:start+1+n], '\\') < 0 {
			end = start + n + 2
			if end == len(line) || blank(line[end]) {
				return line[start+1 : end-1], end, true
			}
		}
	}
	from := len(w.scratch)
	inside := false
	for end = start; end < len(line); end++ {
		switch c := line[end]; {
		case c == '"':
			inside = !inside
		case inside && c == '\\' && end+1 < len(line):
			end++
			w.scratch = append(w.scratch, line[end])
		case !inside && blank(c):
			return w.scratch[from:], end, true
		default:
			w.scratch = append(w.scratch, c)
		}
	}
	return w.scratch[from:], end, !inside
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// number reads a decimal or, with 0x, a hexadecimal number of 32 bits.
func number(b []byte) (uint32, bool) {
	base := uint64(10)
	if len(b) > 2 && b[0] == '0' && (b[1] == 'x' || b[1] == 'X') {
		b, base = b[2:], 16
	}
	if len(b) == 0 || len(b) > 10 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		d := uint64(99)
		switch {
		case '0' <= c && c <= '9':
			d = uint64(c - '0')
		case 'a' <= c && c <= 'f':
			d = uint64(c-'a') + 10
		case 'A' <= c && c <= 'F':
			d = uint64(c-'A') + 10
		}
		if d >= base {
			return 0, false
		}
		n = n*base + d
	}
	return uint32(n), n <= 1<<32-1
}

// parseMark reads "value" or "value/mask".
func parseMark(b []byte) (Mark, bool) {
	value, mask, masked := bytes.Cut(b, []byte("/"))
	v, ok := number(value)
	m := uint32(1<<32 - 1)
	if masked && ok {
		m, ok = number(mask)
	}
	return Mark{v, m}, ok
}

// parsePorts reads "port" or "first:last".
func parsePorts(b []byte) (Ports, bool) {
	first, last, isRange := bytes.Cut(b, []byte(":"))
	if !isRange {
		last = first
	}
	f, ok := number(first)
	l, ok2 := number(last)
	return Ports{uint16(f), uint16(l)}, ok && ok2 && f <= l && l <= 65535
}

// parseAddr is netip.ParseAddr for bytes, without zones. IPv4 is read here: a quarter of a million rules have
// nearly half a million addresses.
func parseAddr(b []byte) (netip.Addr, bool) {
	if bytes.IndexByte(b, ':') >= 0 {
		a, err := netip.ParseAddr(string(b))
		return a, err == nil && a.Zone() == "" && !a.Is4In6()
	}
	var ip [4]byte
	part, value, digits := 0, 0, 0
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9' && digits < 3:
			value, digits = value*10+int(c-'0'), digits+1
		case c == '.' && digits > 0 && value < 256 && part < 3:
			ip[part] = byte(value)
			part, value, digits = part+1, 0, 0
		default:
			return netip.Addr{}, false
		}
	}
	if part != 3 || digits == 0 || value > 255 {
		return netip.Addr{}, false
	}
	ip[3] = byte(value)
	return netip.AddrFrom4(ip), true
}

// parsePrefix reads an address, or a prefix with a length, and masks it as iptables does.
func parsePrefix(b []byte) (netip.Prefix, bool) {
	addr, length, isPrefix := bytes.Cut(b, []byte("/"))
	a, ok := parseAddr(addr)
	if !ok {
		return netip.Prefix{}, false
	}
	bits := a.BitLen()
	if isPrefix {
		n, ok := number(length)
		if !ok || int(n) > bits {
			return netip.Prefix{}, false
		}
		bits = int(n)
	}
	return netip.PrefixFrom(a, bits).Masked(), true
}

// parseAddrPort reads "address:port", with brackets around an IPv6 address.
func parseAddrPort(b []byte) (netip.AddrPort, bool) {
	i := bytes.LastIndexByte(b, ':')
	if i < 0 {
		return netip.AddrPort{}, false
	}
	addr, port := b[:i], b[i+1:]
	if n := len(addr); n > 2 && addr[0] == '[' && addr[n-1] == ']' {
		addr = addr[1 : n-1]
	} else if bytes.IndexByte(addr, ':') >= 0 {
		return netip.AddrPort{}, false
	}
	a, ok := parseAddr(addr)
	p, ok2 := number(port)
	return netip.AddrPortFrom(a, uint16(p)), ok && ok2 && 0 < p && p <= 65535
}

// parseStates reads what --ctstate takes.
func parseStates(b []byte) (States, bool) {
	var s States
next:
	for name := range strings.SplitSeq(string(b), ",") {
		for _, n := range stateNames {
			if name == n.name {
				s |= n.bit
				continue next
			}
		}
		return 0, false
	}
	return s, true
}
