package conntrack

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// million is how many entries the table has. One namespace may have as many as nf_conntrack_max says, which can only be
// set for the whole machine; so they are spread over some. These share one hash table, all of which is walked for each
// of them: the sum of the times is what one namespace would take at most. In turns, with the entries of one at
// a time, it is what it would take at least.
const million = 1_000_000

// crowd is Services with many clients.
type crowd struct {
	services, ends int
	changed        int // Services of which one endpoint is replaced
	proto          ipproto.Proto
}

func (c crowd) clusterIP(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
}

func (c crowd) end(i, k int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(128 + k), byte(i >> 8), byte(i)}), 53)
}

// cluster returns the Services; if changed, with the first endpoint of some replaced.
func (c crowd) cluster(changed bool) map[model.ServiceName]model.Entry {
	m := map[model.ServiceName]model.Entry{}
	for i := range c.services {
		if changed && i >= c.changed {
			break
		}
		var ends []string
		for k := range c.ends {
			if changed && k == 0 {
				k = c.ends
			}
			ends = append(ends, c.end(i, k).String())
		}
		e := service(fmt.Sprintf("ns/s%d", i), c.clusterIP(i).String(), 53, to(ends...))
		m[e.Service.Name] = e
	}
	return m
}

// entries returns some of the entries: the clients are numbered.
func (c crowd) entries(from, to int) []entry {
	var all []entry
	for i := from; i < to; i++ {
		s := i % c.services
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i >> 14 >> 8), byte(i >> 14)}), uint16(i&(1<<14-1)+1024))
		all = append(all, entry{proto: c.proto, src: src, dst: netip.AddrPortFrom(c.clusterIP(s), 53), replySrc: c.end(s, i/c.services%c.ends)})
	}
	return all
}

// shares returns how the million is divided among nodes: from the first of these numbers to the second, and so on.
func shares(b *testing.B) []int {
	b.Helper()
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_max")
	if err != nil {
		b.Skip(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		b.Fatal(err)
	}
	each := min(million, limit-limit/50) // the last ones would have others dropped
	list := []int{0}
	for at := each; at < million; at += each {
		list = append(list, at)
	}
	return append(list, million)
}

// fill returns nodes that have the shares.
func (c crowd) fill(b *testing.B, shares []int) []node {
	b.Helper()
	var nodes []node
	for k := range shares[1:] {
		n := newNode(b)
		for i := shares[k]; i < shares[k+1]; i += 10_000 {
			n.insert(b, c.entries(i, min(i+10_000, shares[k+1]))...)
		}
		nodes = append(nodes, n)
	}
	return nodes
}

// BenchmarkClean cleans a table of a million entries after 2,000 of the endpoints have changed. Beside the time it
// reports how many entries were looked at and deleted, and by how much the memory of the process grew at most.
func BenchmarkClean(b *testing.B) {
	all := shares(b)
	var turns [][]int
	for k := range all[1:] {
		turns = append(turns, all[k:k+2])
	}
	udp := crowd{services: 2000, ends: 10, changed: 2000, proto: ipproto.UDP}
	fresh, tcp := udp, udp
	fresh.changed, tcp.proto = 0, ipproto.TCP
	for _, bb := range []struct {
		name  string
		crowd crowd
		turns [][]int
	}{
		{"udp/stale=100k", udp, [][]int{all}},
		{"udp/stale=100k/in turns", udp, turns},
		{"udp/stale=0", fresh, [][]int{all}},
		{"tcp", tcp, [][]int{all}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var took, cpu time.Duration
			var sum Tally
			var grew uint64
			for range b.N {
				for _, turn := range bb.turns {
					nodes := bb.crowd.fill(b, turn)
					debug.FreeOSMemory()
					base := memory(b, true)
					for _, n := range nodes {
						before := processorTime(b)
						t, tally := bb.crowd.clean(b, n)
						cpu += processorTime(b) - before
						took += t
						sum.Looked += tally.Looked
						sum.Deleted += tally.Deleted
					}
					grew = max(grew, memory(b, false)-base)
					for _, n := range nodes {
						n.flush(b)
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(took.Seconds()/float64(b.N), "s/million")
			b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s/million")
			b.ReportMetric(float64(sum.Looked)/float64(b.N), "looked/op")
			b.ReportMetric(float64(sum.Deleted)/float64(b.N), "deleted/op")
			b.ReportMetric(float64(grew)/1e6, "MB")
		})
	}
}

// clean changes the endpoints, and cleans the table of a node.
func (c crowd) clean(b *testing.B, n node) (time.Duration, Tally) {
	b.Helper()
	before, after := c.cluster(false), c.cluster(true)
	var report Report
	k := New(Config{Family: ipproto.IPv4, Open: n.open, Report: func(r Report) { report = r }})
	k.Synced(Sync{Whole: true, Services: before})
	clean(&k.book)
	started := time.Now()
	k.Synced(Sync{Services: after, Repaired: c.changed == 0})
	if err := k.run(b.Context()); err != nil {
		b.Fatal(err)
	}
	return time.Since(started), report.Tally
}

// BenchmarkDump is the floor: the kernel sends a million entries, or walks the table and sends none, and nobody looks
// at them. It reports for how long that kept another thread from the same processor, which includes its turns of a few
// milliseconds.
func BenchmarkDump(b *testing.B) {
	nodes := crowd{services: 2000, ends: 10, proto: ipproto.UDP}.fill(b, shares(b))
	for _, bb := range []struct {
		name   string
		family ipproto.Family
		filter bool
	}{
		{"all", ipproto.UnknownFamily, false},
		{"filtered/all match", ipproto.IPv4, true},
		{"filtered/none match", ipproto.IPv6, true},
	} {
		b.Run(bb.name, func(b *testing.B) {
			var stall time.Duration
			for b.Loop() {
				stall = max(stall, stalled(b, func() {
					for _, n := range nodes {
						n.read(b, bb.family, bb.filter)
					}
				}))
			}
			b.ReportMetric(float64(stall.Microseconds())/1000, "stall-ms")
		})
	}
	for _, n := range nodes {
		n.flush(b)
	}
}

// read reads entries, and throws them away.
func (n node) read(b *testing.B, f ipproto.Family, filter bool) {
	table, err := n.open(ipproto.IPv4)
	if err != nil {
		b.Error(err)
		return
	}
	defer table.Close()
	if _, err := table.dump.send(func(b []byte, seq uint32) []byte { return appendDump(b, f, filter, seq) }); err != nil {
		b.Error(err)
		return
	}
	buf := make([]byte, dumpBuffer)
	for {
		got, err := table.dump.receive(buf, 0)
		if err != nil {
			b.Error(err)
			return
		}
		h, _, _, err := next(got[max(0, len(got)-nlmsgHeader-4):]) // the end comes last
		if err == nil && h.kind == unix.NLMSG_DONE {
			return
		}
	}
}

// stalled runs f on one processor, and returns for how long at most another thread did not get that.
func stalled(b *testing.B, f func()) (worst time.Duration) {
	stop, ended := make(chan struct{}), make(chan struct{})
	go pinned(b, func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			start := time.Now()
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 100_000}, nil)
			worst = max(worst, time.Since(start))
		}
	})
	done := make(chan struct{})
	go pinned(b, func() {
		defer close(done)
		f()
	})
	<-done
	close(stop)
	<-ended
	return worst
}

// pinned runs f on the first processor. Its thread ends with it.
func pinned(b *testing.B, f func()) {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(0)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		b.Error(err)
	}
	f()
}

// BenchmarkRuleChange is a restore of one rule, alone and while a table of a quarter of a million is cleaned again
// and again, because every frontend changes again and again. It reports how long the restore took, and how long it took
// to tell the Cleaner of 2,000 Services.
func BenchmarkRuleChange(b *testing.B) {
	c := crowd{services: 2000, ends: 10, changed: 2000, proto: ipproto.UDP}
	n := newNode(b)
	n.insert(b, c.entries(0, 250_000)...)
	for _, tool := range []string{"iptables-nft-restore", "iptables-legacy-restore"} {
		for _, busy := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/cleaning=%v", tool, busy), func(b *testing.B) {
				var k *Cleaner
				k = New(Config{Family: ipproto.IPv4, Open: n.open, Report: func(Report) { k.Synced(Sync{Repaired: true}) }})
				ctx, cancel := context.WithCancel(b.Context())
				var running sync.WaitGroup
				if busy {
					running.Go(func() { k.Run(ctx) })
				}
				k.Synced(Sync{Whole: true, Services: c.cluster(false)})
				var told, all []time.Duration
				services := c.cluster(false)
				for b.Loop() {
					started := time.Now()
					k.Synced(Sync{Services: services})
					told = append(told, time.Since(started))
					started = time.Now()
					in := bytes.NewReader([]byte("*nat\n:TEST - [0:0]\n-A TEST -j RETURN\nCOMMIT\n"))
					if _, err := n.Command(in, tool, "--noflush"); err != nil {
						b.Fatal(err)
					}
					all = append(all, time.Since(started))
				}
				cancel()
				running.Wait()
				slices.Sort(all)
				slices.Sort(told)
				b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(all[len(all)-1].Microseconds())/1000, "max-ms")
				b.ReportMetric(float64(told[len(told)-1].Microseconds())/1000, "told-max-ms")
			})
		}
	}
	n.flush(b)
}

// flush empties the table. A namespace that is given up would do it some time later.
func (n node) flush(b *testing.B) {
	b.Helper()
	var s socket
	if err := n.Do(func() (err error) { s, err = openSocket(); return err }); err != nil {
		b.Fatal(err)
	}
	defer s.close()
	seq, err := s.send(func(buf []byte, seq uint32) []byte {
		return begin(buf, msgDelete, unix.NLM_F_REQUEST|unix.NLM_F_ACK, seq, ipproto.IPv4).finish()
	})
	if err == nil {
		err = s.answers(seq)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// memory returns the resident memory of the process in bytes: what it is now, and from then on the highest.
func memory(b *testing.B, reset bool) uint64 {
	b.Helper()
	if reset {
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			b.Skip(err)
		}
	}
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	var kB uint64
	if _, err := fmt.Sscan(rest, &kB); err != nil {
		b.Fatal(err)
	}
	return kB * 1000
}

// processorTime returns what the process has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
