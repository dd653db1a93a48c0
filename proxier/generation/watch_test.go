package generation

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

func openForTest(t *testing.T) *Watch {
	t.Helper()
	w, err := OpenWatch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// Every commit is told once, with its generation and the program, and nothing else is.
func TestWatchNamesTheProgram(t *testing.T) {
	enterNamespace(t)
	w := openForTest(t)
	p := openProbe(t, ipproto.IPv4, nft)
	first, _ := read(t, p).Generation()

	restore(t, "iptables-nft", "*nat\n:A - [0:0]\n-A A -j RETURN\nCOMMIT\n*filter\n:B - [0:0]\nCOMMIT\n")
	run(t, "iptables-nft -t nat -S")
	run(t, "ip6tables-nft -N C")
	run(t, "nft flush ruleset")

	for i, program := range []string{"iptables-nft-re", "iptables-nft-re", "ip6tables-nft", "nft"} {
		c, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := first + 1 + uint32(i); c.Generation != want || c.Program != program || c.PID <= 0 {
			t.Errorf("commit %d is %v, want generation %d by %s", i, c, want, program)
		}
	}
	if last, _ := read(t, p).Generation(); last != first+4 {
		t.Errorf("the generation is %d, and %d was the last announced", last, first+4)
	}
}

// Next waits, and ends with its context; the Watch goes on.
func TestWatchWaits(t *testing.T) {
	enterNamespace(t)
	w := openForTest(t)
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
		if c, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("nobody commits: %v, %v", c, err)
		}
		cancel()
	}
	got := make(chan error)
	go func() {
		_, err := w.Next(t.Context())
		got <- err
	}()
	run(t, "nft add table ip other")
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// leastRoom leaves room for two or three messages.
func leastRoom(t *testing.T, w *Watch) {
	t.Helper()
	var refused error
	err := w.conn.Control(func(fd uintptr) { refused = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 0) })
	if err := errors.Join(err, refused); err != nil {
		t.Fatal(err)
	}
}

// Commits that nobody fetched are reported as such, and the next one is told again.
func TestWatchMisses(t *testing.T) {
	enterNamespace(t)
	w := openForTest(t)
	leastRoom(t, w)
	for range 20 {
		run(t, "nft add table ip other; delete table ip other")
	}
	missed, told := 0, 0
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := w.Next(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		switch {
		case errors.Is(err, ErrMissed):
			missed++
		case err != nil:
			t.Fatal(err)
		default:
			told++
		}
	}
	if missed != 1 || told == 0 || told >= 20 {
		t.Errorf("%d commits were told and %d times some were missed, of 20 commits; want fewer than 20 and 1", told, missed)
	}
	run(t, "nft add table ip other")
	if c, err := w.Next(t.Context()); err != nil || c.Program != "nft" {
		t.Errorf("after some were missed: %v, %v", c, err)
	}
}

// A large commit is one message, though it is thousands for who listens to all: its messages take no room.
func TestWatchOfALargeCommit(t *testing.T) {
	enterNamespace(t)
	w := openForTest(t)
	leastRoom(t, w)
	for _, name := range []string{"A", "B"} {
		restore(t, "iptables-nft", long(name, 400))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if c, err := w.Next(ctx); err != nil || c.Program != "iptables-nft-re" {
			t.Errorf("after 400 chains: %v, %v", c, err)
		}
	}
}

// A closed Watch does not leave its reader waiting.
func TestWatchCloses(t *testing.T) {
	enterNamespace(t)
	w := openForTest(t)
	got := make(chan error)
	go func() {
		_, err := w.Next(context.Background())
		got <- err
	}()
	w.Close()
	if err := <-got; err == nil {
		t.Error("no error after Close")
	}
}
