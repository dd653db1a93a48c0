package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
	"espalier/test/netns/lab"
)

// entry is an entry of the conntrack table as a test makes it and sees it.
type entry struct {
	proto         ipproto.Proto
	src, dst      netip.AddrPort
	replySrc      netip.AddrPort
	zone          uint16
	masqueradedAs netip.Addr // the node's address that the endpoint sees; the zero Addr: the client's
}

func (e entry) String() string {
	return e.proto.String() + " " + e.src.String() + " > " + e.dst.String() + " < " + e.replySrc.String()
}

// reply returns the other end of the reply direction.
func (e entry) reply() netip.AddrPort {
	if e.masqueradedAs.IsValid() {
		return netip.AddrPortFrom(e.masqueradedAs, e.src.Port())
	}
	return e.src
}

// node is a network namespace with a conntrack table.
type node struct{ *lab.Namespace }

func newNode(t testing.TB) node {
	t.Helper()
	if err := lab.Usable(); err != nil {
		if os.Getenv("NETNS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	ns, err := lab.NewNamespace("conntrack")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Close)
	return node{ns}
}

// open opens the table of the node.
func (n node) open(f ipproto.Family) (table *Table, err error) {
	err = n.Do(func() error {
		table, err = Open(f)
		return err
	})
	return table, err
}

// insert makes entries.
func (n node) insert(t testing.TB, entries ...entry) {
	t.Helper()
	var s socket
	if err := n.Do(func() (err error) { s, err = openSocket(); return err }); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	for batch := range slices.Chunk(entries, pipelined) {
		seq, err := s.send(func(b []byte, seq uint32) []byte {
			for i, e := range batch {
				if i == len(batch)-1 {
					b = appendNew(b, e, unix.NLM_F_ACK, seq)
				} else {
					b = appendNew(b, e, 0, unanswered)
				}
			}
			return b
		})
		if err == nil {
			err = s.answers(seq)
		}
		if err != nil {
			t.Fatalf("make entries from %v on: %v", batch[0], err)
		}
	}
}

func appendNew(b []byte, e entry, flags uint16, seq uint32) []byte {
	const ctaTimeout = 7
	m := begin(b, msgNew, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_EXCL|flags, seq, ipproto.FamilyOf(e.src.Addr()))
	m.tuple(ctaTupleOrig, e.proto, e.src, e.dst)
	m.tuple(ctaTupleReply, e.proto, e.replySrc, e.reply())
	m.attr(ctaTimeout, binary.BigEndian.AppendUint32(nil, 3600)...)
	if e.zone != 0 {
		m.attr(ctaZone, byte(e.zone>>8), byte(e.zone))
	}
	return m.finish()
}

// entries returns all entries of a family, of whatever protocol, as text, sorted.
func (n node) entries(t testing.TB, f ipproto.Family) []string {
	t.Helper()
	var s socket
	if err := n.Do(func() (err error) { s, err = openSocket(); return err }); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := s.send(func(b []byte, seq uint32) []byte { return appendDump(b, f, false, seq) }); err != nil {
		t.Fatal(err)
	}
	all := []string{}
	buf := make([]byte, dumpBuffer)
	for {
		rest, err := s.receive(buf, 0)
		if err != nil {
			t.Fatal(err)
		}
		for len(rest) > 0 {
			var h header
			var body []byte
			if h, body, rest, err = next(rest); err != nil {
				t.Fatal(err)
			}
			if h.kind != msgNew {
				slices.Sort(all)
				return all
			}
			var orig, reply tuple
			attrs(body[nfgenHeader:], func(kind uint16, value []byte) {
				switch kind {
				case ctaTupleOrig:
					orig.parse(value)
				case ctaTupleReply:
					reply.parse(value)
				}
			})
			all = append(all, entry{proto: orig.proto, src: orig.from(), dst: orig.to(), replySrc: reply.from()}.String())
		}
	}
}

func texts(entries []entry) []string {
	all := []string{}
	for _, e := range entries {
		all = append(all, e.String())
	}
	slices.Sort(all)
	return all
}

// flow returns an entry of UDP. Each has its own client.
func flow(client int, dst, replySrc string) entry {
	d := netip.MustParseAddrPort(dst)
	src := netip.AddrFrom4([4]byte{10, 0, byte(client >> 8), byte(client)})
	if d.Addr().Is6() {
		src = netip.AddrFrom16([16]byte{0xfd, 0x10, 14: byte(client >> 8), 15: byte(client)})
	}
	return entry{proto: ipproto.UDP, src: netip.AddrPortFrom(src, 5353), dst: d, replySrc: netip.MustParseAddrPort(replySrc)}
}

// TestSweepDeletesExactlyWhatIsStale: the callback decides, and sees the entries of UDP of the family in the default
// zone only.
func TestSweepDeletesExactlyWhatIsStale(t *testing.T) {
	for _, at := range []struct {
		family     ipproto.Family
		vip, other string
		endpoint   string
	}{
		{ipproto.IPv4, "172.30.0.10:53", "172.30.0.11:53", "10.244.1.2:53"},
		{ipproto.IPv6, "[fd00::10]:53", "[fd00::11]:53", "[fd00:1::2]:53"},
	} {
		for _, filter := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/filter=%v", at.family, filter), func(t *testing.T) {
				n := newNode(t)
				stale, fresh := flow(1, at.vip, at.endpoint), flow(2, at.other, at.endpoint)
				tcp, sctp, zone := flow(3, at.vip, at.endpoint), flow(4, at.vip, at.endpoint), flow(5, at.vip, at.endpoint)
				tcp.proto, sctp.proto, zone.zone = ipproto.TCP, ipproto.SCTP, 7
				masqueraded := flow(6, at.vip, at.endpoint)
				masqueraded.masqueradedAs = masqueraded.dst.Addr().Next()
				n.insert(t, stale, fresh, tcp, sctp, zone, masqueraded)
				n.insert(t, flow(7, "[fd00::10]:54", "[fd00:1::2]:53"), flow(8, "172.30.0.10:54", "10.244.1.2:53"))
				before := len(n.entries(t, at.family))

				table, err := n.open(at.family)
				if err != nil {
					t.Fatal(err)
				}
				defer table.Close()
				seen := 0
				var done Tally
				_, err = table.pass(t.Context(), filter, func(f Flow) bool {
					seen++
					return f.Dst == stale.dst
				}, &done)
				if err != nil {
					t.Fatal(err)
				}
				if done.Deleted != 2 || done.UDP != 4 || seen != 4 {
					t.Errorf("swept %+v and saw %d entries, want 2 deleted and 4 seen", done, seen)
				}
				wantLooked := 5 // that of the other zone too
				if !filter {
					wantLooked = 8
				}
				if done.Looked != wantLooked {
					t.Errorf("the kernel sent %d entries, want %d: what it was asked to filter by is not what it does", done.Looked, wantLooked)
				}
				after := n.entries(t, at.family)
				if len(after) != before-2 || slices.Contains(after, stale.String()) || slices.Contains(after, masqueraded.String()) {
					t.Errorf("left are %s", strings.Join(after, "\n"))
				}
				for _, e := range []entry{fresh, tcp, sctp, zone} {
					if !slices.Contains(after, e.String()) {
						t.Errorf("%v was deleted", e)
					}
				}
			})
		}
	}
}

// TestSweepOfMany: the dump comes in many pieces and the deletes in many batches, while the table changes under it.
func TestSweepOfMany(t *testing.T) {
	n := newNode(t)
	var all []entry
	for i := range 5000 {
		all = append(all, flow(i, "172.30.0.10:53", []string{"10.244.1.2:53", "10.244.1.3:53"}[i%2]))
	}
	n.insert(t, all...)
	table, err := n.open(ipproto.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	gone := netip.MustParseAddrPort("10.244.1.2:53")
	done, err := table.Sweep(t.Context(), Tally{}, func(f Flow) bool { return f.ReplySrc == gone })
	if err != nil {
		t.Fatal(err)
	}
	if done.Deleted != 2500 || done.Looked < 5000 {
		t.Errorf("swept %+v, want 2500 deleted of 5000", done)
	}
	if left := n.entries(t, ipproto.IPv4); len(left) != 2500 {
		t.Errorf("%d entries are left, want 2500", len(left))
	}
}

// TestDeleteSparesALaterEntry: the client made a new connection with the same addresses since the old one was seen.
func TestDeleteSparesALaterEntry(t *testing.T) {
	n := newNode(t)
	old := flow(1, "172.30.0.10:53", "10.244.1.2:53")
	n.insert(t, old)
	table, err := n.open(ipproto.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	replaced := old
	replaced.replySrc = netip.MustParseAddrPort("10.244.1.3:53")
	var second *Table
	done, err := table.Sweep(t.Context(), Tally{}, func(f Flow) bool {
		if second, err = n.open(ipproto.IPv4); err != nil {
			t.Fatal(err)
		}
		if err := second.deletes.delete([]Flow{f}); err != nil { // somebody else is faster
			t.Fatal(err)
		}
		n.insert(t, replaced)
		return true
	})
	defer second.Close()
	if err != nil {
		t.Fatal(err)
	}
	if want := texts([]entry{replaced}); !slices.Equal(n.entries(t, ipproto.IPv4), want) {
		t.Errorf("left are %v, want %v; swept %+v", n.entries(t, ipproto.IPv4), want, done)
	}
}

func TestSweepEndsWithItsContext(t *testing.T) {
	n := newNode(t)
	var all []entry
	for i := range 2000 {
		all = append(all, flow(i, "172.30.0.10:53", "10.244.1.2:53"))
	}
	n.insert(t, all...)
	table, err := n.open(ipproto.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done, err := table.Sweep(ctx, Tally{}, func(Flow) bool { cancel(); return false })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if done.Looked == 0 || done.Looked > 1000 {
		t.Errorf("looked at %d of 2000 entries after it was asked to end with the first", done.Looked)
	}
}

// TestWithoutPrivilege: the error says what is missing.
func TestWithoutPrivilege(t *testing.T) {
	n := newNode(t)
	err := n.Do(func() error {
		if err := dropNetAdmin(); err != nil {
			t.Fatal(err)
		}
		table, err := Open(ipproto.IPv4)
		if err != nil {
			return err
		}
		defer table.Close()
		_, err = table.Sweep(t.Context(), Tally{}, func(Flow) bool { return true })
		return err
	})
	if !errors.Is(err, ErrPrivilege) {
		t.Fatalf("error %v, want one that says that a privilege is missing", err)
	}
	const want = "clean conntrack of ipv4: not permitted: it needs CAP_NET_ADMIN"
	if err.Error() != want {
		t.Errorf("error %q, want %q", err, want)
	}
}

// dropNetAdmin takes CAP_NET_ADMIN from this thread, which never gets it back.
func dropNetAdmin() error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&h, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	return unix.Capset(&h, &data[0])
}

// TestFiltered: no stall of the processor is longer than about 10 ms.
func TestFiltered(t *testing.T) {
	for _, tt := range []struct {
		name              string
		entries, matching int
		want              bool
	}{
		{"an empty table", 0, 0, true},
		{"a small one", 30_000, 0, true},
		{"a large one of which nothing is known", 1_000_000, 0, false},
		{"a large one with a little UDP", 1_000_000, 1000, false},
		{"a large one with some UDP", 1_000_000, 5000, true},
		{"a large one of UDP", 1_000_000, 1_000_000, true},
	} {
		if got := filtered(tt.entries, tt.matching); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestSweepCounts what it goes by the next time.
func TestSweepCounts(t *testing.T) {
	n := newNode(t)
	tcp := flow(3, "172.30.0.10:53", "10.244.1.2:53")
	tcp.proto = ipproto.TCP
	n.insert(t, flow(1, "172.30.0.10:53", "10.244.1.2:53"), flow(2, "[fd00::10]:53", "[fd00:1::2]:53"), tcp)
	table, err := n.open(ipproto.IPv4)
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	done, err := table.Sweep(t.Context(), Tally{}, func(Flow) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	if want := (Tally{Entries: 3, Looked: 1, UDP: 1, Passes: 1}); done != want {
		t.Errorf("swept %+v, want %+v", done, want)
	}
}
