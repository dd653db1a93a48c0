package plugins

import (
	"regexp"
	"strconv"
	"testing"
)

// ours are the bits of the mark that the service proxy uses, or once used.
const ours = 0x4000 | 0x8000

var sets = regexp.MustCompile(`(?:--set-xmark|--tproxy-mark) (0x[0-9a-f]+)/(0x[0-9a-f]+)`)

// Nobody sets or clears our bits of the mark. Cilium writes all bits of what it hands to its own proxy, before we see
// the packet.
func TestNobodyWritesOurMark(t *testing.T) {
	toProxy := map[string]bool{"--set-xmark 0x200/0xffffffff": true, "--tproxy-mark 0x200/0xffffffff": true}
	for _, p := range everyone() {
		for _, f := range p.families(p.node) {
			r, err := p.Rules(p.node, f)
			do(t, err)
			for c, rules := range r.Chains {
				for _, rule := range rules {
					for _, m := range sets.FindAllStringSubmatch(rule, -1) {
						if c == (Chain{"mangle", "CILIUM_PRE_mangle"}) && toProxy[m[0]] {
							continue
						}
						if writes(t, m[1])&ours|writes(t, m[2])&ours != 0 {
							t.Errorf("%s, %v: %v has %q", p.Name, f, c, rule)
						}
					}
				}
			}
		}
	}
}

func writes(t *testing.T, hex string) uint64 {
	t.Helper()
	bits, err := strconv.ParseUint(hex, 0, 32)
	do(t, err)
	return bits
}
