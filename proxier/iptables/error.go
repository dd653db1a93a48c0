package iptables

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"espalier/proxier/ipproto"
)

// RestoreError says which line of its input iptables-restore refused.
type RestoreError struct {
	Family  ipproto.Family
	Backend Backend
	// Line counts from 1; 0 if the tool named none. Text is that line. A bare COMMIT means that the kernel
	// refused the table as a whole, and that the tool does not know because of which rule.
	Line   int
	Text   string
	Exit   int
	Stderr string
}

func (e *RestoreError) Error() string {
	line := "its input"
	if e.Line > 0 {
		line = fmt.Sprintf("line %d %q", e.Line, e.Text)
	}
	text := fmt.Sprintf("%s-restore (%v) refused %s", base(e.Family), e.Backend, line)
	if reason := e.Reason(); reason != "" {
		text += ": " + reason
	}
	return text + hint(e.Stderr)
}

// Reason is what the tool said, without its name and the number of the line.
func (e *RestoreError) Reason() string {
	reason := firstLine(e.Stderr)
	if at := atCommit.FindStringSubmatch(reason); at != nil {
		return at[2]
	}
	if lineFailed.MatchString(reason) {
		_, reason, _ = strings.Cut(reason, "failed")
		return strings.TrimLeft(reason, ": ")
	}
	return reason
}

// AtCommit reports whether the tool blames the table as a whole.
func (e *RestoreError) AtCommit() bool { return e.Text == "COMMIT" }

// AboutRules reports whether the tool refused what was written, rather than to work at all: without privileges,
// without the lock, without room for so much, or without the patience to read all of it, no rule is to blame.
func (e *RestoreError) AboutRules() bool { return e.Line > 0 && hint(e.Stderr) == "" }

// IsLockBusy reports whether another program held the lock of the tables for too long: nothing was written,
// and the same may work a moment later.
func IsLockBusy(err error) bool { return said(err, "holding the xtables lock") }

// tooLong is of a COMMIT with more rules than fit into the netlink socket of iptables-nft-restore, of which none is to
// blame. It happens in user namespaces, where the tool may not enlarge the buffer.
const tooLong = "sendmsg() failed: Message too long"

// noCommit is of a legacy tool that did not read its input to the end. It takes the lock with an alarm for the end of its
// patience, and never cancels that: five seconds later the alarm ends a read of more input, if there is one just then, and
// the tool takes that for the end. It happens where processors are so busy that we cannot write as fast as it reads.
const noCommit = "COMMIT expected at line"

// said reports whether a command that failed said so.
func said(err error, text string) bool {
	if e, ok := errors.AsType[*RestoreError](err); ok {
		return strings.Contains(e.Stderr, text)
	}
	e, ok := errors.AsType[*CommandError](err)
	return ok && strings.Contains(e.Stderr, text)
}

// The wordings in which iptables-restore 1.8.9 names a line. The exit status tells nothing: a refused rule, a
// busy lock and missing privileges all end with 4 on nf_tables.
var (
	// nf_tables, refused by the kernel: "line 3: RULE_APPEND failed (No such file or directory): rule in chain A"
	atCommit = regexp.MustCompile(`(?m)^line (\d+): ([A-Z_]+ failed .*)$`)
	// legacy, refused by the kernel, and both for unknown chains: "iptables-restore: line 4 failed[: reason]"
	lineFailed = regexp.MustCompile(`line (\d+) failed`)
	// both, refused by the tool itself: the reason on one line, then "Error occurred at line: 3"
	occurredAt = regexp.MustCompile(`(?m)^Error occurred at line: (\d+)$`)
	// both: "iptables-restore: COMMIT expected at line 3"
	expectedAt = regexp.MustCompile(`COMMIT expected at line (\d+)`)
)

// refusedLine returns the number of the line that the tool names, 0 if it names none.
func refusedLine(stderr string) int {
	for _, wording := range []*regexp.Regexp{atCommit, occurredAt, expectedAt, lineFailed} {
		if m := wording.FindStringSubmatch(stderr); m != nil {
			n, err := strconv.Atoi(m[1])
			if err == nil {
				return n
			}
		}
	}
	return 0
}

// missingChain returns the chain that iptables-nft-restore could not find. It notices a bad jump only at the
// COMMIT, and names that line: "Chain 'NOPE' does not exist", "Error occurred at line: 4".
func missingChain(stderr string) (string, bool) {
	_, rest, ok := strings.Cut(stderr, "Chain '")
	name, _, closed := strings.Cut(rest, "' does not exist")
	return name, ok && closed
}

// firstLine returns the first line that says something, without the "iptables-restore v1.8.9 (nf_tables): ".
func firstLine(stderr string) string {
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if _, after, ok := strings.Cut(line, "): "); ok && versioned.MatchString(line) {
			line = strings.TrimSpace(after)
		}
		if line == "" || strings.HasPrefix(line, "#") || versionOnly.MatchString(line) {
			continue
		}
		return line
	}
	return ""
}

var (
	versioned   = regexp.MustCompile(`^ip6?tables\S* v[0-9.]+ \(\w+\): `)
	versionOnly = regexp.MustCompile(`^ip6?tables\S* v[0-9.]+ \(\w+\):$`)
)

// hint says what to do about the errors that are not about rules.
func hint(stderr string) string {
	switch {
	case strings.Contains(stderr, "you must be root"), strings.Contains(stderr, "xtables.lock: Permission denied"):
		return ": run as root, or grant the capabilities " + strings.Join(Legacy.Capabilities(), " and ")
	case strings.Contains(stderr, "nitialize table"), strings.Contains(stderr, "can't initialize ip"):
		return ": the kernel has no such table (modules ip_tables, iptable_nat, ip6_tables, ip6table_nat), " +
			"or " + strings.Join(Legacy.Capabilities(), " or ") + " is missing"
	case strings.Contains(stderr, "lock file"):
		return ": /run/xtables.lock must be writable (in a pod: mounted from the host)"
	case strings.Contains(stderr, tooLong):
		return ": the buffer of the netlink socket is too small for so many rules: raise net.core.wmem_max, or run " +
			"with CAP_NET_ADMIN outside of a user namespace, which lets iptables raise it"
	case strings.Contains(stderr, noCommit):
		return ": it stopped reading, as it does if it has to wait for input for long, on a machine that is very busy; this is tried again"
	case strings.Contains(stderr, "holding the xtables lock"):
		return ": another program is changing rules; this is tried again"
	}
	return ""
}
