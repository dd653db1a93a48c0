package ruleset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Saved is what iptables-save printed: all chains of some tables.
type Saved struct {
	// Rules has every chain of the tables, the built-in ones included.
	Rules Ruleset
	// Tables are the tables that appeared, in order, each once. A table that nobody has used yet does not.
	Tables []Table
	// Incompatible are tables that iptables-save could not print, because nft put something there that
	// iptables has no words for.
	Incompatible []string
}

// Owned returns the chains whose content the proxy decides.
func (s Saved) Owned() Ruleset {
	out := Ruleset{}
	for c, rules := range s.Rules {
		if Owned(c) {
			out[c] = rules
		}
	}
	return out
}

// Has reports whether the table appeared.
func (s Saved) Has(t Table) bool { return slices.Contains(s.Tables, t) }

// BuiltIn reports whether a chain of this name is one that the kernel calls by itself.
func BuiltIn(name string) bool {
	switch name {
	case "PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING":
		return true
	}
	return false
}

// ParseError says where the text is broken.
type ParseError struct {
	Line int // counts from 1
	Err  error
}

func (e *ParseError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

func (e *ParseError) Unwrap() error { return e.Err }

// Parse reads the output of iptables-save of either backend and family, and the input that we write for
// iptables-restore. A rule that Rule has no words for is kept as Foreign text.
//
// Of restore input it follows what the lines do to an empty kernel: a chain line empties its chain unless that
// is a built-in one, -A appends, -I inserts, -N creates, -F empties and -X deletes. Other commands (-D, -R, -P,
// -E, -Z) change rules that the text does not show, and are errors. A table may be committed more than once.
// Tables that no proxy touches are skipped.
func Parse(r io.Reader) (Saved, error) {
	p := parser{
		in:      bufio.NewReaderSize(r, 64<<10),
		saved:   Saved{Rules: Ruleset{}},
		strings: map[string]string{},
	}
	for {
		err := p.next()
		if errors.Is(err, io.EOF) {
			err = p.end()
			if err == nil {
				return p.saved, nil
			}
		}
		if err != nil {
			return Saved{}, &ParseError{Line: p.line, Err: err}
		}
	}
}

// parser is the state between two lines.
type parser struct {
	in    *bufio.Reader
	saved Saved
	line  int
	long  []byte // a line that did not fit into the buffer of in

	table   Table
	state   parserState
	chain   string // where run belongs
	run     []Rule // rules of chain that are not in saved yet
	words   words
	strings map[string]string // every name and comment once
}

type parserState uint8

const (
	outside  parserState = iota
	inTable              // between *TABLE and COMMIT
	skipping             // the same, in a table that we do not know
)

// next handles one line; io.EOF after the last.
func (p *parser) next() error {
	line, err := p.readLine()
	if err != nil {
		return err
	}
	line = bytes.TrimSpace(line)
	switch {
	case len(line) == 0:
		return nil
	case line[0] == '#':
		p.remark(line)
		return nil
	case line[0] == '*':
		return p.begin(string(line[1:]))
	case p.state == outside:
		return fmt.Errorf("%s outside of a table", quoted(line))
	case string(line) == "COMMIT":
		p.flush()
		p.state = outside
		return nil
	case p.state == skipping:
		return nil
	case line[0] == ':':
		return p.chainLine(line[1:])
	case line[0] == '-' || line[0] == '[':
		return p.command(line)
	}
	return fmt.Errorf("%s is neither a chain nor a rule", quoted(line))
}

// readLine returns the next line; the bytes are good until the next call.
func (p *parser) readLine() ([]byte, error) {
	line, err := p.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		p.long = append(p.long[:0], line...)
		for errors.Is(err, bufio.ErrBufferFull) {
			line, err = p.in.ReadSlice('\n')
			p.long = append(p.long, line...)
		}
		line = p.long
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	p.line++
	return line, nil
}

// remark looks for the one remark of iptables-nft-save that matters:
// "# Table `nat' is incompatible, use 'nft' tool." stands in place of the table.
func (p *parser) remark(line []byte) {
	rest, found := strings.CutPrefix(string(line), "# Table `")
	name, rest, quote := strings.Cut(rest, "'")
	if found && quote && strings.HasPrefix(rest, " is incompatible") {
		p.saved.Incompatible = append(p.saved.Incompatible, name)
	}
}

// begin enters a table.
func (p *parser) begin(name string) error {
	if p.state != outside {
		return fmt.Errorf("table %q before the COMMIT of the last one", name)
	}
	t, known := ParseTable(name)
	if !known {
		p.state = skipping
		return nil
	}
	p.state, p.table, p.chain = inTable, t, ""
	if !p.saved.Has(t) {
		p.saved.Tables = append(p.saved.Tables, t)
	}
	return nil
}

// end is what is left to check after the last line.
func (p *parser) end() error {
	if p.state != outside {
		return errors.New("the text ends before COMMIT: it is not complete")
	}
	return nil
}

// chainLine handles ":NAME POLICY [packets:bytes]", without the colon.
func (p *parser) chainLine(line []byte) error {
	name, rest, _ := bytes.Cut(line, []byte(" "))
	if len(name) == 0 || len(bytes.TrimSpace(rest)) == 0 {
		return fmt.Errorf("chain line %s without name or policy", quoted(line))
	}
	p.flush()
	c := Chain{p.table, p.intern(name)}
	if _, ok := p.saved.Rules[c]; !ok || !BuiltIn(c.Name) {
		p.saved.Rules[c] = nil
	}
	return nil
}

// command handles a line that begins with a command, or with counters before one.
func (p *parser) command(line []byte) error {
	// A line break within a quoted comment is printed as it is. No rule of ours has one, but a rule of
	// somebody else must not stop us.
	const longest = 4096 // ten times any text that a match takes
	for first, start := len(line), p.line; !p.words.split(line); {
		joined := append(bytes.Clone(line), '\n')
		more, err := p.readLine()
		if err != nil || len(line) > first+longest {
			p.line = start
			return errors.New("a quote is not closed")
		}
		line = append(joined, bytes.TrimRight(more, "\r\n")...)
	}
	w := p.words.list
	if w[0].text[0] == '[' { // counters
		w = w[1:]
	}
	if len(w) < 2 {
		return fmt.Errorf("%s names no chain", quoted(line))
	}
	verb, name, spec := string(w[0].text), w[1].text, w[2:]
	switch verb {
	case "-A":
		if string(name) != p.chain {
			if err := p.enter(name); err != nil {
				return err
			}
		}
		p.run = append(p.run, p.rule(line, spec))
		return nil
	case "-I":
		return p.insert(line, name, spec)
	case "-N", "-F", "-X":
		if len(spec) > 0 {
			return fmt.Errorf("%s has more than a chain", quoted(line))
		}
		return p.chainCommand(verb, name)
	}
	return fmt.Errorf("command %q is not expected here", verb)
}

// enter makes the chain the one that rules are collected for.
func (p *parser) enter(name []byte) error {
	p.flush()
	c := Chain{p.table, p.intern(name)}
	if _, ok := p.saved.Rules[c]; !ok {
		if !BuiltIn(c.Name) {
			return fmt.Errorf("rule in chain %v, which no chain line has", c)
		}
		p.saved.Rules[c] = nil // restore input does not name built-in chains
	}
	p.chain = c.Name
	return nil
}

// flush hands the collected rules over. Chains get slices of exactly their length.
func (p *parser) flush() {
	if len(p.run) > 0 {
		c := Chain{p.table, p.chain}
		if have := p.saved.Rules[c]; len(have) > 0 {
			p.saved.Rules[c] = append(have, p.run...)
		} else {
			p.saved.Rules[c] = slices.Clone(p.run)
		}
		p.run = p.run[:0]
	}
	p.chain = ""
}

// insert handles "-I CHAIN [POSITION] RULE".
func (p *parser) insert(line, name []byte, spec []word) error {
	if err := p.enter(name); err != nil {
		return err
	}
	c := Chain{p.table, p.chain}
	pos := uint32(1)
	if len(spec) > 0 {
		if n, ok := number(spec[0].text); ok {
			pos, spec = n, spec[1:]
		}
	}
	have := p.saved.Rules[c]
	if pos < 1 || int(pos) > len(have)+1 {
		return fmt.Errorf("position %d in chain %v of %d rules", pos, c, len(have))
	}
	p.saved.Rules[c] = slices.Insert(have, int(pos)-1, p.rule(line, spec))
	return nil
}

// chainCommand handles -N, -F and -X.
func (p *parser) chainCommand(verb string, name []byte) error {
	p.flush()
	c := Chain{p.table, p.intern(name)}
	_, there := p.saved.Rules[c]
	switch {
	case there == (verb == "-N"):
		return fmt.Errorf("%s of chain %v, present: %t", verb, c, there)
	case verb == "-X" && (len(p.saved.Rules[c]) > 0 || BuiltIn(c.Name)):
		return fmt.Errorf("-X of chain %v, which is built in or has rules", c)
	case verb == "-X":
		delete(p.saved.Rules, c)
	default:
		p.saved.Rules[c] = nil
	}
	return nil
}

// intern returns the bytes as a string, each text only once.
func (p *parser) intern(b []byte) string {
	if s, ok := p.strings[string(b)]; ok {
		return s
	}
	s := string(b)
	p.strings[s] = s
	return s
}

// quoted shortens a line for an error.
func quoted(line []byte) string {
	const most = 100
	if len(line) > most {
		return fmt.Sprintf("%q…", line[:most])
	}
	return fmt.Sprintf("%q", line)
}
