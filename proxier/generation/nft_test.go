package generation

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"espalier/proxier/ipproto"
)

// counted is what one run of a program adds to the generation.
type counted struct {
	name    string
	command string // of nft or iptables
	stdin   string // of iptables-nft-restore --noflush, if there is no command
	want    uint32
	refused bool
}

func (c counted) do(t *testing.T) {
	t.Helper()
	if c.command == "" {
		c.command = "iptables-nft-restore --noflush"
	}
	if _, err := try(c.stdin, c.command); (err != nil) != c.refused {
		t.Errorf("%s: error %v, want one: %v", c.name, err, c.refused)
	}
}

// The facts about commits that the package states. The rows build on each other.
func TestWhatIsCounted(t *testing.T) {
	enterNamespace(t)
	p := openProbe(t, ipproto.IPv4, nft)
	before := read(t, p)
	for _, c := range []counted{
		{name: "an empty COMMIT in a namespace without tables", stdin: "*nat\nCOMMIT\n", want: 0},
		{name: "a COMMIT that makes the first table", stdin: "*nat\n:A - [0:0]\nCOMMIT\n", want: 1},
		{name: "a COMMIT that makes a table with a built-in chain", want: 1,
			stdin: "*mangle\n:A - [0:0]\n-A OUTPUT -j A\nCOMMIT\n"},
		{name: "an empty COMMIT", stdin: "*nat\nCOMMIT\n", want: 0},
		{name: "a chain that is there and empty, declared", stdin: "*nat\n:A - [0:0]\nCOMMIT\n", want: 0},
		{name: "a chain with a rule", stdin: "*nat\n:A - [0:0]\n-A A -j RETURN\nCOMMIT\n", want: 1},
		{name: "the same again", stdin: "*nat\n:A - [0:0]\n-A A -j RETURN\nCOMMIT\n", want: 1},
		{name: "the same chain, emptied", stdin: "*nat\n:A - [0:0]\nCOMMIT\n", want: 1},
		{name: "a rule added and removed", stdin: "*nat\n-A A -j RETURN\n-D A -j RETURN\nCOMMIT\n", want: 1},
		{name: "two tables", stdin: "*nat\n:B - [0:0]\nCOMMIT\n*filter\n:B - [0:0]\nCOMMIT\n", want: 2},
		{name: "one table with two COMMITs", stdin: "*nat\n:C - [0:0]\nCOMMIT\n*nat\n:D - [0:0]\nCOMMIT\n", want: 2},
		{name: "a long COMMIT", stdin: long("L", 400), want: 1},
		{name: "a jump to no chain", stdin: "*nat\n:A - [0:0]\n-A A -j NOWHERE\nCOMMIT\n", want: 0, refused: true},
		{name: "the first table of two, the second refused", refused: true,
			stdin: "*nat\n:E - [0:0]\nCOMMIT\n*filter\n-A B -j NOWHERE\nCOMMIT\n", want: 1},
		{name: "one that the kernel refuses: a chain that is referred to",
			stdin: "*nat\n-A A -j B\nCOMMIT\n*nat\n-X B\nCOMMIT\n", want: 1, refused: true},
		{name: "--test", command: "iptables-nft-restore --noflush --test", stdin: "*nat\n:F - [0:0]\nCOMMIT\n", want: 0},
		{name: "nft --check", command: "nft --check add table ip other", want: 0},
		{name: "a listing", command: "nft list ruleset", want: 0},
		{name: "a save", command: "iptables-nft-save", want: 0},
		{name: "a table of somebody else", command: "nft add table inet other", want: 1},
		{name: "the same again", command: "nft add table inet other", want: 0},
		{name: "four commands of nft", command: "nft -f -", want: 1,
			stdin: "add table ip x\nadd chain ip x c\nadd rule ip x c counter\nadd rule ip x c counter\n"},
		{name: "the other family", command: "ip6tables-nft -A FORWARD -j ACCEPT", want: 1},
		{name: "counters zeroed where there is none", command: "iptables-nft -t nat -Z", want: 0},
		{name: "the legacy backend", command: "iptables-legacy -N A", want: 0},
		{name: "all flushed", command: "nft flush ruleset", want: 1},
		{name: "nothing flushed", command: "nft flush ruleset", want: 0},
	} {
		c.do(t)
		after := read(t, p)
		if n, ok := after.Commits(before); n != c.want || !ok {
			t.Errorf("%s: %d commits, %v; want %d", c.name, n, ok, c.want)
		}
		before = after
	}
}

// long is a COMMIT with so many chains, in the order in which the tool is fast. With more than some 500 it fails
// under unshare -rn, where the tool cannot have a larger send buffer ("Message too long").
func long(name string, chains int) string {
	var lines []string
	for i := range chains {
		lines = append(lines, fmt.Sprintf(":%s%06d - [0:0]", name, i))
	}
	slices.Reverse(lines)
	for i := range chains {
		lines = append(lines, fmt.Sprintf("-A %s%06d -p tcp -j RETURN", name, i))
	}
	return "*nat\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
}

// Zeroing the counters of built-in chains is a commit, whether they moved or not.
func TestZeroedCounters(t *testing.T) {
	enterNamespace(t)
	p := openProbe(t, ipproto.IPv4, nft)
	restore(t, "iptables-nft", load)
	before := read(t, p)
	run(t, "iptables-nft -t nat -Z")
	if n, _ := read(t, p).Commits(before); n != 1 {
		t.Errorf("zeroing the counters of a table is %d commits, want 1", n)
	}
}
