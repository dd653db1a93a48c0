package bed

import (
	"testing"
	"time"
)

func TestCPUTime(t *testing.T) {
	for name, c := range map[string]struct {
		stat string
		want time.Duration
	}{
		"itself and its children":     {"7 (sh) S 1 7 7 0 -1 4 1 1 0 0 10 20 30 40 20 0 1 0 5 6 7", time.Second},
		"a name with parentheses":     {"7 (a) b) c) S 1 7 7 0 -1 4 1 1 0 0 1 0 0 0 20 0 1 0 5 6 7", 10 * time.Millisecond},
		"a line that ends too early":  {"7 (sh) S 1 7", 0},
		"not a line of the kernel":    {"", 0},
		"not numbers where they were": {"7 (sh) S 1 7 7 0 -1 4 1 1 0 0 x 20 30 40 20 0 1", 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := cpuTime([]byte(c.stat)); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestField(t *testing.T) {
	text := []byte("VmPeak:\t  900 kB\nVmHWM:\t     512 kB\n")
	if got := field(text, "VmHWM:"); got != 512 {
		t.Errorf("got %d, want 512", got)
	}
	if got := field(text, "VmSwap:"); got != 0 {
		t.Errorf("got %d of a field that is not there", got)
	}
}

func TestLineCounter(t *testing.T) {
	text := "# -A not a rule\n*nat\n:A - [0:0]\n-A x -j y\n-B\n--A\n-A z\nCOMMIT\n-A"
	for size := 1; size < len(text); size++ {
		c := &lineCounter{prefix: []byte("-A ")}
		for rest := text; rest != ""; {
			n := min(size, len(rest))
			if wrote, err := c.Write([]byte(rest[:n])); wrote != n || err != nil {
				t.Fatalf("wrote %d of %d: %v", wrote, n, err)
			}
			rest = rest[n:]
		}
		if c.lines != 2 {
			t.Errorf("in pieces of %d: %d lines, want 2", size, c.lines)
		}
	}
}

func TestAnsweredBy(t *testing.T) {
	got, err := answeredBy([]byte("eps 10.0.0.1:80 10.0.0.2:4711\n"))
	if err != nil || got.String() != "10.0.0.1:80" {
		t.Errorf("got %s, %v", got, err)
	}
	if _, err := answeredBy([]byte("hello\n")); err == nil {
		t.Error("an answer of one word is not refused")
	}
}
