package conntrack

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

// taken returns what a Take takes, as text: frontends, with a word for those that are gone, and their endpoints.
func taken(b *Book) []string {
	var all []string
	line := func(name string, t target) {
		if t.gone {
			name += " gone"
		}
		var ends []string
		for _, a := range slices.Concat(t.endpoints.few, slices.Collect(maps.Keys(t.endpoints.many))) {
			ends = append(ends, a.String())
		}
		slices.Sort(ends)
		for _, e := range ends {
			name += " " + e
		}
		all = append(all, name)
	}
	w := b.Take()
	for f, t := range w.addresses {
		line(f.String(), t)
	}
	for p, t := range w.nodePorts {
		line(fmt.Sprintf("node port %d", p), t)
	}
	slices.Sort(all)
	return all
}

type step = map[model.ServiceName]model.Entry

// clean lets a book take and clean what it has.
func clean(b *Book) {
	b.Take()
	b.Done()
}

func TestWhatAChangeMakesDirty(t *testing.T) {
	const a, b2, c = "10.244.0.1:53", "10.244.0.2:53", "10.244.0.3:53"
	before := func(options ...func(*model.Entry)) model.Entry {
		return service("ns/dns", "10.96.0.10", 53, options...)
	}
	for _, tt := range []struct {
		name   string
		before []model.Entry
		step   step
		want   []string
	}{
		{"an endpoint left", list(before(to(a, b2))), cluster(before(to(a))), []string{"10.96.0.10:53 " + a}},
		{"an endpoint was replaced", list(before(to(a))), cluster(before(to(b2))), []string{"10.96.0.10:53 " + b2}},
		{"the last endpoint left", list(before(to(a))), cluster(before()), []string{"10.96.0.10:53"}},
		{"the first endpoint joined", list(before()), cluster(before(to(a))), []string{"10.96.0.10:53 " + a}},
		{"an endpoint joined others", list(before(to(a))), cluster(before(to(a, b2))), nil},
		{"an endpoint terminates and still serves", list(before(to(a, b2))), cluster(before(to(a, b2+" draining"))), nil},
		{"an endpoint stops serving", list(before(to(a, b2+" draining"))), cluster(before(to(a, b2+" gone"))), []string{"10.96.0.10:53 " + a}},
		{"an endpoint has another port", list(before(to(a))), cluster(before(to("10.244.0.1:54"))), []string{"10.96.0.10:53 10.244.0.1:54"}},
		{"nothing changed", list(before(to(a), vip("1.1.1.1"))), cluster(before(to(a), vip("1.1.1.1"))), nil},
		{"a Service is new", nil, cluster(before(to(a), nodePort(30053), vip("1.1.1.1"), externalIP("2.2.2.2"))), []string{
			"1.1.1.1:53 " + a, "10.96.0.10:53 " + a, "2.2.2.2:53 " + a, "node port 30053 " + a,
		}},
		{"a Service is gone", list(before(to(a), nodePort(30053))), gone("ns/dns"), []string{
			"10.96.0.10:53 gone " + a, "node port 30053 gone " + a,
		}},
		{"a Service is gone with an endpoint that did not serve", list(before(to(a, b2+" gone"))), gone("ns/dns"), []string{
			"10.96.0.10:53 gone " + a + " " + b2,
		}},
		{"a VIP is new", list(before(to(a))), cluster(before(to(a), vip("1.1.1.1"))), []string{"1.1.1.1:53 " + a}},
		{"a VIP is gone", list(before(to(a), vip("1.1.1.1"))), cluster(before(to(a))), []string{"1.1.1.1:53 gone " + a}},
		{"an external IP is another", list(before(to(a), externalIP("1.1.1.1"))), cluster(before(to(a), externalIP("2.2.2.2"))), []string{
			"1.1.1.1:53 gone " + a, "2.2.2.2:53 " + a,
		}},
		{"a node port is another", list(before(to(a), nodePort(30053))), cluster(before(to(a), nodePort(30054))), []string{
			"node port 30053 gone " + a, "node port 30054 " + a,
		}},
		{"a port is another", list(before(to(a))), cluster(service("ns/dns", "10.96.0.10", 54, to(a))), []string{
			"10.96.0.10:53 gone " + a, "10.96.0.10:54 " + a,
		}},
		{"a Service came with another cluster IP", list(before(to(a))), cluster(service("ns/dns", "10.96.0.11", 53, to(b2))), []string{
			"10.96.0.10:53 gone " + a, "10.96.0.11:53 " + b2,
		}},
		{"TCP changed", list(tcpOnly(before(to(a)))), cluster(tcpOnly(before(to(b2)))), nil},
		{"a Service without UDP is gone", list(tcpOnly(before(to(a)))), gone("ns/dns"), nil},
		{"a Service that never was is gone", nil, gone("ns/dns"), nil},
		{"UDP became TCP", list(before(to(a))), cluster(tcpOnly(before(to(a)))), []string{"10.96.0.10:53 gone " + a}},
		{"TCP and SCTP beside UDP", list(before(to(a))), cluster(before(to(b2), also(ipproto.TCP), also(ipproto.SCTP))), []string{"10.96.0.10:53 " + b2}},
		{
			"one of two with the same external IP is gone",
			list(before(to(a), externalIP("1.1.1.1")), service("ns/other", "10.96.0.11", 53, to(b2), externalIP("1.1.1.1"))),
			gone("ns/dns"),
			[]string{"1.1.1.1:53 " + b2, "10.96.0.10:53 gone " + a},
		},
		{
			"the endpoints of one of two with the same external IP changed",
			list(before(to(a), externalIP("1.1.1.1")), service("ns/other", "10.96.0.11", 53, to(b2), externalIP("1.1.1.1"))),
			cluster(before(to(c), externalIP("1.1.1.1"))),
			[]string{"1.1.1.1:53 " + b2 + " " + c, "10.96.0.10:53 " + c},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, whole := range []bool{false, true} {
				var b Book
				b.Note(cluster(tt.before...), true)
				clean(&b)
				now := tt.step
				if whole { // the same change, seen by a whole sync
					now = cluster(tt.before...)
					for name, e := range tt.step {
						if now[name] = e; e.Service == nil {
							delete(now, name)
						}
					}
				}
				b.Note(now, whole)
				if b.Dirty() != (tt.want != nil) {
					t.Errorf("whole %v: dirty is %v", whole, b.Dirty())
				}
				if diff := cmp.Diff(tt.want, taken(&b)); diff != "" {
					t.Errorf("whole %v: taken (-want +got):\n%s", whole, diff)
				}
				clean(&b)
				b.Note(now, whole)
				if b.Dirty() {
					t.Errorf("whole %v: dirty again after the same: %v", whole, taken(&b))
				}
			}
		})
	}
}

func list(all ...model.Entry) []model.Entry { return all }

// tcpOnly makes the port of a Service one of TCP.
func tcpOnly(e model.Entry) model.Entry {
	e.Service.Ports[0].Proto = ipproto.TCP
	e.Backends = model.Backends{e.Service.Ports[0].PortKey: e.Backends[dns]}
	return e
}

func TestBookOverTime(t *testing.T) {
	const a, b2, c = "10.244.0.1:53", "10.244.0.2:53", "10.244.0.3:53"
	with := func(endpoints ...string) step { return cluster(service("ns/dns", "10.96.0.10", 53, to(endpoints...))) }
	none := gone("ns/dns")
	for _, tt := range []struct {
		name string
		do   func(*Book)
		want []string
	}{
		{"changes add up", func(b *Book) {
			b.Note(with(b2), false)
			b.Note(with(c), false)
			b.Note(none, false)
		}, []string{"10.96.0.10:53 gone " + a + " " + b2 + " " + c}},
		{"gone and back", func(b *Book) {
			b.Note(none, false)
			b.Note(with(b2), false)
		}, []string{"10.96.0.10:53 " + b2}},
		{"come and gone between two turns", func(b *Book) {
			b.Note(cluster(service("ns/new", "10.96.0.77", 53, to(c))), false)
			b.Note(gone("ns/new"), false)
		}, []string{"10.96.0.77:53 gone " + c}},
		{"what could not be cleaned is taken again", func(b *Book) {
			b.Note(with(b2), false)
			b.Take()
			b.Return()
		}, []string{"10.96.0.10:53 " + b2}},
		{"what could not be cleaned and is gone now knows all endpoints", func(b *Book) {
			b.Note(with(b2), false)
			b.Take()
			b.Note(none, false)
			b.Return()
		}, []string{"10.96.0.10:53 gone " + a + " " + b2}},
		{"what is clean is not taken again", func(b *Book) {
			b.Note(with(b2), false)
			clean(b)
		}, nil},
		{"a change while it is cleaned is taken the next time", func(b *Book) {
			b.Note(with(b2), false)
			b.Take()
			b.Note(with(c), false)
			b.Done()
		}, []string{"10.96.0.10:53 " + c}},
		{"an endpoint joins while the frontend is cleaned: it may have been cleaned without", func(b *Book) {
			b.Note(with(b2), false)
			b.Take()
			b.Note(with(b2, c), false)
			b.Done()
		}, []string{"10.96.0.10:53 " + b2 + " " + c}},
		{"a failed sync alone gives nothing to clean", func(b *Book) { b.Doubt(with(b2)) }, nil},
		{"a failed sync may have served what the next one does not", func(b *Book) {
			b.Doubt(cluster(service("ns/new", "10.96.0.77", 53, to(c))))
			b.Note(with(a), true)
		}, []string{"10.96.0.77:53 gone " + c}},
		{"a failed sync may have served endpoints that the next one does not", func(b *Book) {
			b.Doubt(with(a, b2))
			b.Note(none, false)
		}, []string{"10.96.0.10:53 gone " + a + " " + b2}},
		{"what a failed sync may have served is cleaned once", func(b *Book) {
			b.Doubt(cluster(service("ns/new", "10.96.0.77", 53, to(c))))
			b.Note(with(a), true)
			clean(b)
			b.Note(with(b2), true)
		}, []string{"10.96.0.10:53 " + b2}},
		{"a failed sync that changes nothing for UDP", func(b *Book) {
			b.Doubt(with(a))
			b.Note(with(a), true)
		}, nil},
		{"rules that stood there at the start served what is not served now", func(b *Book) {
			b.Found(rules("10.96.0.77:53", c, "10.96.0.10:53", b2, ":30053", c))
			b.Note(with(a), true)
		}, []string{"10.96.0.10:53 " + a, "10.96.0.77:53 gone " + c, "node port 30053 gone " + c}},
		{"they are not forgotten when the first sync fails", func(b *Book) {
			b.Found(rules("10.96.0.77:53", c))
			b.Doubt(with(b2))
			b.Found(nil)
			b.Note(with(a), true)
		}, []string{"10.96.0.10:53 " + a, "10.96.0.77:53 gone " + c}},
		{"all", func(b *Book) { b.All() }, []string{"10.96.0.10:53 " + a}},
		{"what was forgotten is all", func(b *Book) {
			b.Note(none, false)
			b.Take()
			b.Forget()
			b.Note(with(b2), false)
			b.Take()
			b.Forget()
		}, []string{"10.96.0.10:53 " + b2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b Book
			b.Note(with(a), true)
			clean(&b)
			tt.do(&b)
			if diff := cmp.Diff(tt.want, taken(&b)); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
		})
	}
}

// rules are pairs of a frontend, of which a node port has no address, and its endpoint.
func rules(pairs ...string) map[frontend][]netip.AddrPort {
	all := map[frontend][]netip.AddrPort{}
	for pair := range slices.Chunk(pairs, 2) {
		var at frontend
		if port, isPort := strings.CutPrefix(pair[0], ":"); isPort {
			n, _ := strconv.ParseUint(port, 10, 16)
			at = netip.AddrPortFrom(netip.Addr{}, uint16(n))
		} else {
			at = netip.MustParseAddrPort(pair[0])
		}
		all[at] = []netip.AddrPort{netip.MustParseAddrPort(pair[1])}
	}
	return all
}

func TestAFrontendThatChangesWhileItIsCleanedIsLeftAlone(t *testing.T) {
	const a, b2 = "10.244.0.1:53", "10.244.0.2:53"
	one := func(endpoints ...string) model.Entry { return service("ns/one", "10.96.0.1", 53, to(endpoints...)) }
	two := func(endpoints ...string) model.Entry { return service("ns/two", "10.96.0.2", 53, to(endpoints...)) }
	var b Book
	b.Note(cluster(one(a), two(a)), true)
	b.Take()
	b.Note(cluster(one(a, b2)), false)
	if !b.Changed(flow(1, "10.96.0.1:53", a).dst) || b.Changed(flow(1, "10.96.0.2:53", a).dst) {
		t.Error("want only the first frontend to have changed")
	}
}

func TestExternalIPsThatAreSwitchedOff(t *testing.T) {
	b := Book{NoExternalIPs: true}
	b.Note(cluster(service("ns/dns", "10.96.0.10", 53, externalIP("1.1.1.1"), vip("2.2.2.2"))), true)
	if diff := cmp.Diff([]string{"10.96.0.10:53", "2.2.2.2:53"}, taken(&b)); diff != "" {
		t.Errorf("taken (-want +got):\n%s", diff)
	}
}

// TestBookHoldsOnlyUDP: thousands of Services without UDP are nothing to it, and neither are those that are gone.
func TestBookHoldsOnlyUDP(t *testing.T) {
	var b Book
	b.Note(cluster(tcpOnly(service("ns/web", "10.96.0.1", 80, to("10.244.0.1:80"))), service("ns/dns", "10.96.0.10", 53, vip("1.1.1.1"))), true)
	if len(b.services) != 1 || len(b.claims) != 2 {
		t.Errorf("holds %d Services and %d frontends, want 1 and 2", len(b.services), len(b.claims))
	}
	b.Note(gone("ns/dns"), false)
	clean(&b)
	if n := len(b.services) + len(b.claims) + len(b.dirty) + len(b.cleaning); n != 0 {
		t.Errorf("holds %d things after all are gone", n)
	}
}
