// Command testlog makes the output of "go test -json" short and strict. It prints the closing line of each
// package, everything that failing tests said, and at the end all tests that were skipped.
//
// A skip is an error unless its reason says that the machine or its kernel lacks something: whatever can be
// installed is there when CI runs.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

// event is a line of "go doc test2json".
type event struct {
	Action, Package, Test, Output string
}

// excused is how a test words a skip that nobody can do anything about.
var excused = regexp.MustCompile(`this (machine|kernel) lacks`)

// closing lines are those by which go test ends a package.
var closing = regexp.MustCompile(`^(ok|FAIL|\?)\s|^panic:`)

func main() {
	skipped, err := condense(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testlog:", err)
		os.Exit(1)
	}
	if bad := report(os.Stdout, skipped); bad > 0 {
		fmt.Fprintf(os.Stderr, "testlog: %d tests skipped without an excuse\n", bad)
		os.Exit(1)
	}
}

// condense copies what matters and returns the skipped tests, each with what it said.
func condense(in io.Reader, out io.Writer) ([]string, error) {
	said := map[[2]string]string{}
	var skipped []string
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			fmt.Fprintln(out, lines.Text()) // of make, or of the compiler
			continue
		}
		key := [2]string{e.Package, e.Test}
		switch e.Action {
		case "output", "build-output":
			if e.Test == "" && closing.MatchString(e.Output) || e.Action == "build-output" {
				fmt.Fprint(out, e.Output)
				continue
			}
			said[key] += e.Output
		case "fail":
			if e.Test == "" { // the end of the package; a process that died leaves tests without an end
				unfinished(out, said, e.Package)
			}
			fmt.Fprint(out, said[key])
			delete(said, key)
		case "pass":
			delete(said, key)
		case "skip":
			if e.Test != "" { // else: a package without tests
				skipped = append(skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, reason(said[key])))
			}
		}
	}
	return skipped, lines.Err()
}

// unfinished prints what tests of a package said of which no end was reported.
func unfinished(out io.Writer, said map[[2]string]string, pkg string) {
	for _, key := range slices.SortedFunc(maps.Keys(said), func(a, b [2]string) int { return strings.Compare(a[1], b[1]) }) {
		if key[0] == pkg && key[1] != "" {
			fmt.Fprint(out, "unfinished: ", said[key])
			delete(said, key)
		}
	}
}

// reason picks from a test's output what it gave to Skip.
func reason(output string) string {
	var kept []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, " ")
}

// report prints the skipped tests and returns how many have no excuse.
func report(out io.Writer, skipped []string) int {
	bad := 0
	for _, skip := range skipped {
		verdict := "skipped"
		if !excused.MatchString(skip) {
			verdict = "SKIPPED WITHOUT AN EXCUSE"
			bad++
		}
		fmt.Fprintf(out, "%s: %s\n", verdict, skip)
	}
	if len(skipped) == 0 {
		fmt.Fprintln(out, "skipped: nothing")
	}
	return bad
}
