package netns

import (
	"strings"
	"testing"
	"time"

	"espalier/proxier/iptables"
	"espalier/test/netns/lab"
)

// repaired is how soon damage must be gone, from the end of the command that did it.
const repaired = 2 * time.Second

// steadyRepair: what others do to our rules is repaired within two seconds, and theirs are left alone.
func steadyRepair(t *testing.T, s *site) {
	t.Helper()
	files, streams := basics()
	s.putAll(t, files)
	s.start(t)
	rules := s.saved(t)
	x := []string{s.kernel.Command, "-w", "5"}
	for _, damage := range damages(s.backend) {
		t.Run(damage.name, func(t *testing.T) {
			s.addForeign(t)
			defer s.removeForeign(t)
			foreign := s.foreign(t)
			s.eventually(t, repaired, func() string { return s.other(t, rules) })
			clients := s.connect(t, whileHurt, streams)
			defer clients.stop(t)
			for _, c := range damage.commands {
				argv := append(append([]string{}, x...), strings.Fields(c)...)
				if strings.HasPrefix(c, "nft ") {
					argv = strings.Fields(c)
				}
				s.on(t, "", argv...)
			}
			if damage.input != "" {
				s.on(t, damage.input, s.kernel.RestoreCommand, "-w", "5", "--noflush")
			}
			if damage.rules != "" {
				s.on(t, damage.rules, s.kernel.RestoreCommand, "-w", "5")
			}
			done := time.Now()
			if damage.everything {
				foreign = s.foreign(t) // what is left of them
			}
			s.eventually(t, repaired-time.Since(done), func() string {
				if why := s.wrongNow(t, streams); why != "" {
					return why
				}
				return s.other(t, rules)
			})
			t.Logf("repaired after %v", time.Since(done).Round(time.Millisecond))
			clients.some(t, streams) // those that were begun in time are over
			clients.forgive(nothing)
			clients.some(t, streams)
			if s.foreign(t) != foreign {
				t.Errorf("rules of others were\n%sand are\n%s", foreign, s.foreign(t))
			}
		})
	}
	if log := s.running.log.String(); !strings.Contains(log, "Somebody else wrote to the tables") || !strings.Contains(log, `chains="nat/KUBE-SERVICES"`) {
		t.Errorf("no repair was logged, or not what was found:\n%s", log)
	}
}

type damage struct {
	name       string
	commands   []string // arguments of iptables, or of nft
	input      string   // for iptables-restore --noflush
	rules      string   // for iptables-restore: all that there will be
	everything bool     // rules of others go too
}

// Jumps of ours, as iptables takes them.
const (
	portals    = `-m comment --comment "kubernetes service portals" -j KUBE-SERVICES`
	newPortals = `-m conntrack --ctstate NEW ` + portals
	forwarding = `-m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD`
)

func damages(b iptables.Backend) []damage {
	all := []damage{
		{name: "nat is flushed", commands: []string{"-t nat -F"}, everything: true},
		{name: "filter is flushed", commands: []string{"-t filter -F"}, everything: true},
		{name: "the service chain is flushed", commands: []string{"-t nat -F KUBE-SERVICES"}},
		{name: "the mark chain is flushed", commands: []string{"-t nat -F KUBE-MARK-MASQ"}},
		{name: "one rule is deleted", commands: []string{"-t nat -D KUBE-SERVICES 1"}},
		{name: "a jump is removed", commands: []string{"-t nat -D PREROUTING 1"}},
		{name: "a jump is moved behind rules of others", input: "*filter\n-D OUTPUT " + newPortals + "\n-A OUTPUT " + newPortals + "\nCOMMIT\n"},
		{name: "a jump is inserted once more", input: "*nat\n-A OUTPUT " + portals + "\nCOMMIT\n"},
		{name: "the firewall for load balancers is put behind what is accepted", input: "*filter\n-D FORWARD 2\n-I FORWARD " + forwarding + "\nCOMMIT\n"},
		{name: "a rule of somebody is put into a chain of ours", commands: []string{"-t nat -I KUBE-SERVICES -d 172.30.0.41 -j RETURN"}},
	}
	if b == iptables.NFT {
		all = append(all, damage{name: "the whole ruleset is flushed", commands: []string{"nft flush ruleset"}, everything: true})
	} else {
		// In one go: a chain that is put right between a flush and a deletion could not be deleted.
		all = append(all, damage{
			name: "all tables are flushed and their chains deleted", everything: true,
			rules: "*nat\nCOMMIT\n*filter\nCOMMIT\n*mangle\nCOMMIT\n",
		})
	}
	return all
}

// wrongNow makes one connection of each client and says what is wrong, or nothing. Silence is only believed of
// those who shall be served.
func (s *site) wrongNow(t *testing.T, streams []stream) string {
	t.Helper()
	own, err := s.NodeAddresses()
	if err != nil {
		t.Fatal(err)
	}
	tr := &traffic{site: s, own: own}
	for _, st := range streams {
		if st.want.kind == kindDrop {
			continue
		}
		begun := time.Now()
		o, err := s.Try(st.probe(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		if why := tr.judge(st, o, begun, nothing); why != "" {
			return st.id + ": " + told(o) + ": " + why
		}
	}
	return ""
}

// addForeign puts rules and a chain of others into all three tables; removeForeign takes away what is left of them.
func (s *site) addForeign(t *testing.T) {
	t.Helper()
	var text strings.Builder
	for _, table := range []string{"mangle", "filter", "nat"} {
		text.WriteString("*" + table + "\n:THEIRS - [0:0]\n-A THEIRS -s 198.51.100.9/32 -j RETURN\n-A OUTPUT -d 198.51.100.9/32 -j THEIRS\nCOMMIT\n")
	}
	s.on(t, text.String(), s.kernel.RestoreCommand, "-w", "5", "--noflush")
}

func (s *site) removeForeign(t *testing.T) {
	t.Helper()
	for _, table := range []string{"mangle", "filter", "nat"} {
		for _, c := range []string{"-D OUTPUT -d 198.51.100.9/32 -j THEIRS", "-F THEIRS", "-X THEIRS"} {
			argv := append([]string{s.kernel.Command, "-w", "5", "-t", table}, strings.Fields(c)...)
			_, _ = s.Host(lab.Node).Command(nil, argv...) // it may be gone
		}
	}
}

// foreign returns the rules and chains of others, each after its table.
func (s *site) foreign(t *testing.T) string {
	t.Helper()
	out, err := s.Host(lab.Node).Command(nil, s.kernel.SaveCommand)
	if err != nil {
		t.Fatal(err)
	}
	var rest strings.Builder
	table := ""
	for line := range strings.Lines(string(out)) {
		switch {
		case strings.HasPrefix(line, "*"):
			table = strings.TrimSpace(line)
		case strings.Contains(line, "THEIRS"):
			line, _, _ = strings.Cut(line, " [") // the counters of a chain
			rest.WriteString(table + " " + strings.TrimSpace(line) + "\n")
		}
	}
	return rest.String()
}
