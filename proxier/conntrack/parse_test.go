package conntrack

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// TestAnInterruptedDumpIsReadAgain, five times at most; what it was good for counts.
func TestAnInterruptedDumpIsReadAgain(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name        string
		interrupted int // so many times
		fails       error
		want        int
	}{
		{"not interrupted", 0, nil, 1},
		{"interrupted twice", 2, nil, 3},
		{"interrupted for ever", 1000, nil, 5},
		{"broken", 1000, broken, 1},
	} {
		reads := 0
		err := untilComplete(func() (bool, error) {
			reads++
			return reads <= tt.interrupted, tt.fails
		})
		if reads != tt.want || !errors.Is(err, tt.fails) {
			t.Errorf("%s: read %d times, error %v; want %d times, error %v", tt.name, reads, err, tt.want, tt.fails)
		}
	}
}

// TestThatADumpWasInterruptedIsSeen: the kernel says so by a flag of any message, or at the end.
func TestThatADumpWasInterruptedIsSeen(t *testing.T) {
	code := -int32(unix.EINTR)
	eintr := binary.NativeEndian.AppendUint32(nil, uint32(code))
	for _, tt := range []struct {
		name string
		of   header
		body []byte
		want bool
	}{
		{"no", header{kind: unix.NLMSG_DONE}, make([]byte, 4), false},
		{"by the flag of an entry", header{kind: msgNew, flags: unix.NLM_F_DUMP_INTR}, make([]byte, 4), true},
		{"by the flag of the end", header{kind: unix.NLMSG_DONE, flags: unix.NLM_F_DUMP_INTR}, make([]byte, 4), true},
		{"by the result", header{kind: unix.NLMSG_DONE}, eintr, true},
		{"by an error", header{kind: unix.NLMSG_ERROR}, eintr, true},
		{"of somebody else's dump", header{kind: msgNew, flags: unix.NLM_F_DUMP_INTR, seq: 7}, make([]byte, 4), false},
	} {
		p := pass{deletes: &socket{}, stale: func(Flow) bool { return false }, tally: &Tally{}, batch: make([]Flow, 0, 1)}
		if err := p.take(tt.of, tt.body); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if p.interrupted != tt.want {
			t.Errorf("%s: interrupted is %v", tt.name, p.interrupted)
		}
	}
}

// FuzzParse: whatever the kernel sends, nothing panics, and a flow that is ok is complete.
func FuzzParse(f *testing.F) {
	f.Add(appendNew(nil, flow(1, "172.30.0.10:53", "10.244.1.2:53"), 0, 1))
	f.Add(appendNew(nil, flow(1, "[fd00::10]:53", "[fd00:1::2]:53"), 0, 1))
	f.Add(appendDelete(nil, Flow{}, 0, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			_, body, rest, err := next(b)
			if err != nil {
				return
			}
			if len(rest) >= len(b) {
				t.Fatal("no progress")
			}
			_ = errno(body)
			if flow, ok := parseFlow(body); ok && (!flow.Src.IsValid() || !flow.Dst.IsValid() || !flow.ReplySrc.IsValid() || !flow.ReplyDst.IsValid()) {
				t.Errorf("%+v is not complete", flow)
			}
			b = rest
		}
	})
}

// TestParseReadsWhatIsWritten: an entry in the kernel's words, with an ID as it gives one.
func TestParseReadsWhatIsWritten(t *testing.T) {
	for _, e := range []entry{flow(1, "172.30.0.10:53", "10.244.1.2:5353"), flow(1, "[fd00::10]:53", "[fd00:1::2]:5353")} {
		b := appendNew(nil, e, 0, 1)
		m := &message{b: b}
		m.attr(ctaID, 1, 2, 3, 4)
		_, body, rest, err := next(m.finish())
		if err != nil || len(rest) != 0 {
			t.Fatalf("error %v, %d bytes behind it", err, len(rest))
		}
		want := Flow{Src: e.src, Dst: e.dst, ReplySrc: e.replySrc, ReplyDst: e.src, ID: [4]byte{1, 2, 3, 4}}
		if got, ok := parseFlow(body); !ok || got != want {
			t.Errorf("read %+v (%v), want %+v", got, ok, want)
		}
		for cut := range body {
			if got, ok := parseFlow(body[:cut]); ok && got != want {
				t.Errorf("cut off after %d bytes, it reads %+v", cut, got)
			}
		}
		e.proto = ipproto.TCP
		if _, body, _, _ := next(appendNew(nil, e, 0, 1)); len(body) > 0 {
			if _, ok := parseFlow(body); ok {
				t.Error("an entry of TCP is taken for one of UDP")
			}
		}
	}
}
