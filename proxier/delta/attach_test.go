package delta_test

import (
	"slices"
	"strings"
	"testing"

	"espalier/proxier/delta"
	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// The jumps of filter FORWARD, from the top, are those to the firewall (W), to what is forwarded (F), to refused
// cluster IPs (S), and to refused external IPs (E). Small letters are rules of others.
func TestAttachPutsJumpsWhereTheyBelong(t *testing.T) {
	for _, test := range []struct {
		name         string
		have, before string
		want         string
		wrong        bool // jumps that are there are moved
	}{
		{name: "a clean node", have: "", want: "WFSE"},
		{name: "rules of others: in front of them", have: "ab", want: "WFSEab"},
		{name: "all is well", have: "WFSEab", want: "WFSEab"},
		{name: "all is well, behind somebody who was there first", have: "aWFSEb", want: "aWFSEb"},
		{name: "all is well, among others", have: "aWFbSEc", want: "aWFbSEc"},
		{name: "the first is missing", have: "aFSEb", want: "aWFSEb"},
		{name: "one in the middle is missing", have: "aWFEb", want: "aWFSEb"},
		{name: "the last is missing", have: "aWFSb", want: "aWFSEb"},
		{name: "all but one are missing", have: "aSb", want: "aWFSEb"},
		{name: "forwarding is accepted in front of the firewall", have: "FWSE", want: "WFSE", wrong: true},
		{name: "another order among others", have: "aEbSFcWd", want: "aWFSEbcd", wrong: true},
		{name: "one is there twice", have: "aWFSEbF", want: "aWFSEb", wrong: true},
		{name: "twice, with another one missing", have: "aWFEbF", want: "aWFSEb", wrong: true},
		{name: "somebody came in front, who was not there before", have: "xWFSEab", before: "WFSEab", want: "xWFSEab"},
		{name: "somebody of behind came to the front", have: "bWFSEa", before: "WFSEab", want: "bWFSEa"},
		{name: "all of behind came to the front", have: "abWFSE", before: "WFSEab", want: "abWFSE"},
		{name: "one of ours was moved behind others", have: "WFSabE", before: "WFSEab", want: "WFSEab", wrong: true},
		{name: "moved, and somebody was there first", have: "aWFSbE", before: "aWFSEb", want: "aWFSEb", wrong: true},
		{name: "moved, and somebody is new in front", have: "xWbFSE", before: "WFSEb", want: "xWFSEb", wrong: true},
		{name: "moved, and somebody of behind came to the front", have: "bWaFSE", before: "WFSEab", want: "bWFSEa", wrong: true},
		{name: "nothing is known of a rule that went", have: "bWFSE", before: "WFSEa", want: "bWFSE"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var behind delta.Behind
			if test.before != "" {
				before := chainOf(test.before)
				behind = func(from ruleset.Chain, jump, other ruleset.Rule) bool {
					j, o := slices.Index(before[from], jump), slices.Index(before[from], other)
					return from == forward && 0 <= j && j < o
				}
			}
			have := chainOf(test.have)
			b := delta.Batch{}.Attach(have, ruleset.Jumps(), behind)
			after := delta.Apply(have, b)
			if got := letters(after[forward]); got != test.want {
				t.Errorf("chain is %q, want %q", got, test.want)
			}
			if moved := slices.ContainsFunc(b.Unjump, func(j ruleset.Jump) bool { return j.From == forward }); moved != test.wrong {
				t.Errorf("jumps were moved: %v, want %v", moved, test.wrong)
			}
			if again := (delta.Batch{}).Attach(after, ruleset.Jumps(), behind); !again.Empty() {
				t.Errorf("once more: %+v", again)
			}
		})
	}
}

// Where a jump is inserted is written as iptables counts, from 1 and after what came before it in the input.
func TestInsertionsSayWhere(t *testing.T) {
	have := chainOf("aWFEb")
	text, err := delta.Batch{}.Attach(have, ruleset.Jumps(), nil).Text(ipproto.IPv4, delta.NFT)
	if err != nil {
		t.Fatal(err)
	}
	want := "-I FORWARD 4 -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES"
	if !slices.Contains(strings.Split(string(text), "\n"), want) {
		t.Errorf("no line %q in\n%s", want, text)
	}
}

func TestAttachCreatesWhatJumpsLeadTo(t *testing.T) {
	have := chainOf("aFSEb")
	delete(have, filter(ruleset.ProxyFirewall))
	b := delta.Batch{}.Attach(have, ruleset.Jumps(), nil)
	if len(b.Write) != 1 || !b.New[filter(ruleset.ProxyFirewall)] {
		t.Errorf("chains to create: %v", b.Write)
	}
}

// The kubelet inserts the jump to KUBE-FIREWALL too, and so decides where it stands.
func TestTheJumpToTheFirewallMayStandAnywhere(t *testing.T) {
	all := delta.Apply(nil, delta.Batch{}.Attach(nil, ruleset.Jumps(), nil))
	input := all[filter("INPUT")]
	all[filter("INPUT")] = append(slices.Clone(input[1:]), input[0]) // it stands first
	if b := (delta.Batch{}).Attach(all, ruleset.Jumps(), nil); !b.Empty() {
		t.Errorf("batch %+v", b)
	}
	all[filter("INPUT")] = input[1:]
	b := delta.Batch{}.Attach(all, ruleset.Jumps(), nil)
	if got := delta.Apply(all, b)[filter("INPUT")]; !slices.Equal(got, input) {
		t.Errorf("INPUT is %v, want %v", got, input)
	}
}

var forward = filter("FORWARD")

var shorthand = map[byte]string{'W': ruleset.ProxyFirewall, 'F': ruleset.Forward, 'S': ruleset.Services, 'E': ruleset.ExternalServices}

// chainOf returns a node whose FORWARD chain has these rules; the other built-in chains have all jumps.
func chainOf(text string) ruleset.Ruleset {
	have := delta.Apply(nil, delta.Batch{}.Attach(nil, ruleset.Jumps(), nil))
	have[forward] = nil
	for i := range len(text) {
		r := ruleset.Rule{Comment: text[i : i+1], Jump: ruleset.Drop}
		for _, j := range ruleset.Jumps() {
			if j.From == forward && j.To == shorthand[text[i]] {
				r = j.Rule
			}
		}
		have[forward] = append(have[forward], r)
	}
	return have
}

func letters(rules []ruleset.Rule) string {
	var text strings.Builder
	for _, r := range rules {
		letter := r.Comment
		for l, to := range shorthand {
			if r.Jump == to {
				letter = string(l)
			}
		}
		text.WriteString(letter)
	}
	return text.String()
}
