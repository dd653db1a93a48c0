package delta

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"

	"espalier/proxier/ipproto"
	"espalier/proxier/ruleset"
)

// Strategy is how a batch is cut into COMMITs.
type Strategy uint8

const (
	// Legacy commits each table once: the legacy backend copies the whole table in and out for each COMMIT.
	Legacy Strategy = iota
	// NFT commits a large batch in blocks: the tool of the nf_tables backend walks a list of the chains of
	// a COMMIT for every chain and rule. New chains go first, unreachable and leaves first; then what is
	// reachable is switched over in one small COMMIT, jumps included; then the deletions.
	NFT
)

// String returns "legacy" or "nft".
func (s Strategy) String() string {
	if s == Legacy {
		return "legacy"
	}
	return "nft"
}

// InvalidError says which rule of a batch must not be written, and why. Nothing has been written then.
type InvalidError struct {
	Chain ruleset.Chain
	Index int // of the rule in its chain; -1: the chain itself, or a jump to it
	Text  string
	Err   error
}

func (e *InvalidError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("chain %v: %v", e.Chain, e.Err)
	}
	return fmt.Sprintf("chain %v, rule %d %q: %v", e.Chain, e.Index+1, e.Text, e.Err)
}

func (e *InvalidError) Unwrap() error { return e.Err }

// Text returns the batch as iptables-restore input; see Encode.
func (b Batch) Text(f ipproto.Family, s Strategy) ([]byte, error) {
	var buf bytes.Buffer
	_, err := b.Encode(&buf, f, s)
	return buf.Bytes(), err
}

// Encode writes the batch as input for iptables-restore --noflush, without keeping it in memory. Equal batches
// give equal text. A batch that must not be written as it is yields an *InvalidError before anything is written.
// It says how much that is; after an error of w, how much of it was tried.
func (b Batch) Encode(w io.Writer, f ipproto.Family, s Strategy) (Written, error) {
	return b.encode(w, f, s, b.sizes())
}

func (b Batch) encode(w io.Writer, f ipproto.Family, s Strategy, size sizes) (Written, error) {
	if err := b.Validate(f); err != nil {
		return Written{}, err
	}
	e := encoder{w: bufio.NewWriterSize(w, 64<<10), family: f}
	for _, c := range b.commits(s, size) {
		e.commit(b, c)
	}
	if e.err == nil {
		e.err = e.w.Flush()
	}
	if e.err != nil {
		return e.written, fmt.Errorf("write %v rules: %w", f, e.err)
	}
	return e.written, nil
}

// Validate says which rule must not be written for the family: the first one, in the order of the chains.
func (b Batch) Validate(f ipproto.Family) error {
	var first *InvalidError
	note := func(c ruleset.Chain, i int, r ruleset.Rule, err error) {
		if err != nil && (first == nil || c.Compare(first.Chain) < 0) {
			first = &InvalidError{Chain: c, Index: i, Err: err}
			if i >= 0 {
				first.Text = r.Text(f)
			}
		}
	}
	for c, rules := range b.Write {
		note(c, -1, ruleset.Rule{}, c.Validate())
		for i, r := range rules {
			note(c, i, r, r.Validate(f))
		}
	}
	for _, c := range b.Delete {
		note(c, -1, ruleset.Rule{}, c.Validate())
	}
	for _, j := range b.Jumps {
		note(j.From, -1, j.Rule, j.Rule.Validate(f))
	}
	for _, j := range b.Unjump {
		note(j.From, -1, j.Rule, j.Rule.Validate(f))
	}
	if first != nil {
		return first
	}
	return nil
}

// encoder writes COMMITs; the first error sticks.
type encoder struct {
	w      *bufio.Writer
	family ipproto.Family
	line   []byte
	err    error

	written Written
}

func (e *encoder) put(line []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(append(line, '\n'))
		e.written.Bytes += int64(len(line)) + 1
	}
	e.line = line[:0]
}

func (e *encoder) words(words ...string) {
	line := e.line
	for _, w := range words {
		line = append(line, w...)
	}
	e.put(line)
}

func (e *encoder) rule(chain string, r ruleset.Rule) {
	line := append(append(append(e.line, "-A "...), chain...), ' ')
	e.put(r.Append(line, e.family))
}

func (e *encoder) unjump(j ruleset.Jump) {
	line := append(append(append(e.line, "-D "...), j.From.Name...), ' ')
	e.put(j.Append(line, e.family))
}

func (e *encoder) jump(j Insertion) {
	line := append(append(append(e.line, "-I "...), j.From.Name...), ' ')
	if j.At > 0 { // iptables counts from 1, which is also what it takes if there is no number
		line = append(strconv.AppendInt(line, int64(j.At)+1, 10), ' ')
	}
	e.put(j.Append(line, e.family))
}

// commit writes one transaction: chain lines, which empty the chains that they name; rules; then the built-in
// chains; then what nothing refers to any more.
func (e *encoder) commit(b Batch, c commit) {
	e.words("*", c.table.String())
	names := make([]string, 0, len(c.write)+len(c.remove))
	for _, ch := range c.write {
		names = append(names, ch.Name)
	}
	for _, ch := range c.remove {
		names = append(names, ch.Name)
	}
	// The tool of the nf_tables backend keeps a sorted list, into which each of these goes at the front.
	slices.Sort(names)
	slices.Reverse(names)
	for _, name := range names {
		e.words(":", name, " - [0:0]")
	}
	for _, ch := range c.write {
		for _, r := range b.Write[ch] {
			e.rule(ch.Name, r)
		}
	}
	for _, j := range c.unjump {
		e.unjump(j)
	}
	for _, j := range c.jumps {
		e.jump(j)
	}
	for _, ch := range c.remove {
		e.words("-X ", ch.Name)
	}
	e.words("COMMIT")
	if e.err == nil {
		e.written.Commits++
	}
}
