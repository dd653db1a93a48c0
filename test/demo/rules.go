package main

import (
	"bufio"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// savedRules returns the node's rules as iptables-save prints them, without what differs from one print to
// the next: counters and dates. Of the two backends it returns those that hold rules of Services; none: nil.
func (s *site) savedRules() ([]string, error) {
	var saved []string
	for _, save := range []string{"iptables-nft-save", "iptables-legacy-save"} {
		if _, err := exec.LookPath(save); err != nil {
			continue // not every distribution has both
		}
		text, err := s.node.command(save).Output()
		if err != nil {
			return nil, fmt.Errorf("read the node's rules: %s: %w", save, err)
		}
		if strings.Contains(string(text), "KUBE-") {
			saved = append(saved, stableLines(string(text))...)
		}
	}
	return saved, nil
}

// stableLines keeps tables, chains and rules.
func stableLines(save string) []string {
	var kept []string
	lines := bufio.NewScanner(strings.NewReader(save))
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), " [") // ":KUBE-SERVICES - [0:0]"
		if !strings.HasPrefix(line, "#") {
			kept = append(kept, line)
		}
	}
	return kept
}

// ours counts the rules that belong to Services. KUBE-FIREWALL, which guards 127.0.0.0/8, is not among them:
// on a node of a cluster the kubelet makes it too, so nobody else removes it.
func ours(saved []string) int {
	n := 0
	for _, line := range saved {
		if strings.HasPrefix(line, "-A ") && strings.Contains(line, "KUBE-") && !strings.Contains(line, "KUBE-FIREWALL") {
			n++
		}
	}
	return n
}

// ruleTree draws the nat rules that a packet for a Service can meet, from KUBE-SERVICES down to the
// endpoints. A rule is part of it if it matches wanted, leads to such a rule, or comes behind one.
func ruleTree(saved []string, wanted *regexp.Regexp) []string {
	t := tree{chains: natChains(saved), wanted: wanted, drawn: map[string]bool{}}
	t.draw("KUBE-SERVICES", "", false)
	return t.lines
}

type tree struct {
	chains map[string][]string // rules without "-A CHAIN "
	wanted *regexp.Regexp
	drawn  map[string]bool // chains that stand in lines with all their rules
	lines  []string
}

func natChains(saved []string) map[string][]string {
	chains := map[string][]string{}
	if i := slices.Index(saved, "*nat"); i >= 0 {
		saved = saved[i:]
	}
	for _, line := range saved {
		if line == "COMMIT" {
			break
		}
		if rest, ok := strings.CutPrefix(line, "-A "); ok {
			chain, rule, _ := strings.Cut(rest, " ")
			chains[chain] = append(chains[chain], rule)
		}
	}
	return chains
}

// draw adds the rules of a chain: all of them, or those that lead to a wanted one.
func (t *tree) draw(chain, indent string, all bool) {
	t.drawn[chain] = t.drawn[chain] || all && len(t.chains[chain]) > 0
	rules := slices.DeleteFunc(slices.Clone(t.chains[chain]), func(rule string) bool { return !all && !t.leads(rule) })
	for i, rule := range rules {
		branch, space := "├─ ", "│  "
		if i == len(rules)-1 {
			branch, space = "└─ ", "   "
		}
		line := indent + branch + readable(rule)
		below := all || t.wanted.MatchString(rule)
		if below && t.drawn[target(rule)] {
			t.lines = append(t.lines, line+"   (as above)")
			continue
		}
		t.lines = append(t.lines, line)
		t.draw(target(rule), indent+space, below)
	}
}

// leads reports whether the rule is wanted or leads to one that is.
func (t *tree) leads(rule string) bool {
	return t.wanted.MatchString(rule) || slices.ContainsFunc(t.chains[target(rule)], t.leads)
}

func target(rule string) string {
	_, rest, _ := strings.Cut(rule, "-j ")
	name, _, _ := strings.Cut(rest, " ")
	return name
}

var (
	comment  = regexp.MustCompile(`-m comment --comment ("[^"]*"|\S+) ?`)
	implied  = regexp.MustCompile(`-m (tcp|udp|sctp|addrtype) `)
	everyone = regexp.MustCompile(`(/32)( |$)`)
)

// readable drops from a rule what iptables implies, and moves the comment to the end.
func readable(rule string) string {
	note := ""
	if found := comment.FindStringSubmatch(rule); found != nil {
		note = "   # " + strings.Trim(found[1], `"`)
	}
	rule = comment.ReplaceAllString(rule, "")
	rule = implied.ReplaceAllString(rule, "")
	rule = everyone.ReplaceAllString(rule, "$2")
	return strings.TrimSpace(rule) + note
}
