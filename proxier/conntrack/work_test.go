package conntrack

import (
	"net/netip"
	"testing"

	"espalier/proxier/model"
)

// What the rows of TestStale send to: the addresses of a Service with everything, in the words of the rows.
var places = map[string]map[string]string{
	"ipv4": {
		"cluster IP": "172.30.1.1", "VIP": "10.1.2.3", "external IP": "1.2.3.4", "node": "192.168.0.1", "elsewhere": "192.168.7.7",
		"loopback": "127.0.0.1", "serving": "10.240.0.4", "draining": "10.240.0.5", "unready": "10.240.0.6", "not serving": "10.240.1.5", "unknown": "10.240.2.6",
	},
	"ipv6": {
		"cluster IP": "fd00:30::1", "VIP": "fd00:2::3", "external IP": "2001:db8::4", "node": "fd00:192::1", "elsewhere": "fd00:192::7",
		"loopback": "::1", "serving": "fd00:240::4", "draining": "fd00:240::5", "unready": "fd00:240::6", "not serving": "fd00:240::15", "unknown": "fd00:240::26",
	},
}

// addresses are where a Service is reached.
var addresses = []string{"cluster IP", "VIP", "external IP"}

// row is one kind of entry and whether it is stale. As in kube-proxy's tests, the UDP port is 8000, its node port
// 32000, and the endpoints have port 9090. An empty reply source: the entry was not translated.
type row struct {
	name      string
	to        string
	port      uint16
	replyFrom string
	replyPort uint16
	stale     bool
}

// rows returns the rows for a Service with endpoints, or without, or which is gone.
func rows(state string) (all []row) {
	for _, a := range addresses {
		all = append(all,
			row{"serving endpoint", a, 8000, "serving", 9090, state != "served"},
			row{"endpoint that serves while it terminates", a, 8000, "draining", 9090, state != "served"},
			row{"endpoint that is published although it is not ready", a, 8000, "unready", 9090, state != "served"},
			row{"serving endpoint, old port", a, 8000, "serving", 8080, state != "gone"},
			row{"endpoint that is not serving", a, 8000, "not serving", 9090, true},
			row{"unknown endpoint", a, 8000, "unknown", 9090, state != "gone"},
			row{"not translated", a, 8000, a, 8000, state != "gone"},
			row{"no port of the Service", a, 3000, "unknown", 9090, false},
			row{"no port of the Service, not translated", a, 3000, a, 3000, false},
		)
	}
	return append(all,
		row{"serving endpoint", "node", 32000, "serving", 9090, state != "served"},
		row{"serving endpoint, old port", "node", 32000, "serving", 8080, state != "gone"},
		row{"endpoint that is not serving", "node", 32000, "not serving", 9090, true},
		row{"unknown endpoint", "node", 32000, "unknown", 9090, state != "gone"},
		row{"not translated", "node", 32000, "node", 32000, state == "served"},
		row{"unknown endpoint", "loopback", 32000, "unknown", 9090, state != "gone"},
		row{"port of the Service", "node", 8000, "unknown", 9090, false},
		row{"node port of another machine", "elsewhere", 32000, "unknown", 9090, false},
		row{"node port of another machine, not translated", "elsewhere", 32000, "elsewhere", 32000, false},
		row{"node port", "cluster IP", 32000, "unknown", 9090, false},
	)
}

// full is a Service with everything. Without endpoints, there is one that is known and not serving; but for that, it
// is as if it had none.
func full(at map[string]string, endpoints bool) model.Entry {
	end := func(name, state string) string {
		return netip.AddrPortFrom(netip.MustParseAddr(at[name]), 9090).String() + " " + state
	}
	list := []string{end("not serving", "gone")}
	if endpoints {
		s := end("serving", "")
		list = append(list, s[:len(s)-1], end("draining", "draining"), end("unready", "unready"))
	}
	return service("ns/everything", at["cluster IP"], 8000, vip(at["VIP"]), externalIP(at["external IP"]), nodePort(32000), to(list...))
}

// bookIn returns a book with all frontends of the Service in a state to be cleaned.
func bookIn(state string, at map[string]string) *Book {
	var b Book
	switch state {
	case "served":
		b.Note(cluster(full(at, true)), true)
	case "without endpoints":
		b.Note(cluster(full(at, false)), true)
	case "gone":
		b.Note(cluster(full(at, true)), true)
		b.Take()
		b.Done()
		b.Note(gone("ns/everything"), false)
	}
	return &b
}

var states = []string{"served", "without endpoints", "gone"}

func (r row) flow(client int, at map[string]string) entry {
	addr := func(name string, port uint16) string {
		return netip.AddrPortFrom(netip.MustParseAddr(at[name]), port).String()
	}
	return flow(client, addr(r.to, r.port), addr(r.replyFrom, r.replyPort))
}

func nodeAddresses(at map[string]string) Addresses {
	return NewAddresses([]netip.Addr{netip.MustParseAddr(at["node"])}, true)
}

func TestStale(t *testing.T) {
	for family, at := range places {
		for _, state := range states {
			work := bookIn(state, at).Take()
			for i, r := range rows(state) {
				e := r.flow(i, at)
				_, stale := work.Stale(Flow{Src: e.src, Dst: e.dst, ReplySrc: e.replySrc}, nodeAddresses(at))
				if stale != r.stale {
					t.Errorf("%s, %s: to %s %d from %s: stale is %v, want %v", family, state, r.to, r.port, r.name, stale, r.stale)
				}
			}
		}
	}
}

func TestNodePortsAnswerOnlyWhereTheyDo(t *testing.T) {
	at := places["ipv4"]
	work := bookIn("served", at).Take()
	for _, c := range []struct {
		name  string
		open  Addresses
		to    string
		stale bool
	}{
		{"on the node's address", NewAddresses([]netip.Addr{netip.MustParseAddr(at["node"])}, false), "node", true},
		{"nowhere", Addresses{}, "node", false},
		{"on loopback, if so configured", NewAddresses(nil, true), "loopback", true},
		{"on all of loopback", NewAddresses(nil, true), "far loopback", true},
		{"not on loopback because that is listed", NewAddresses([]netip.Addr{netip.MustParseAddr("127.0.0.1")}, false), "loopback", false},
	} {
		dst := at[c.to]
		if c.to == "far loopback" {
			dst = "127.9.9.9"
		}
		f := flow(1, dst+":32000", at["unknown"]+":9090")
		if _, stale := work.Stale(Flow{Src: f.src, Dst: f.dst, ReplySrc: f.replySrc}, c.open); stale != c.stale {
			t.Errorf("%s: stale is %v, want %v", c.name, stale, c.stale)
		}
	}
}

// TestAnEndpointAtTheAddressOfItsService: a pod of the host network has the external IP for its own. When the Service
// is gone, the client still reaches it, without any rule.
func TestAnEndpointAtTheAddressOfItsService(t *testing.T) {
	const host = "192.168.0.1:53"
	var b Book
	b.Note(cluster(service("ns/dns", "10.96.0.10", 53, externalIP("192.168.0.1"), to(host))), true)
	f := flow(1, host, host)
	own := Flow{Src: f.src, Dst: f.dst, ReplySrc: f.replySrc}
	if _, stale := b.Take().Stale(own, Addresses{}); stale {
		t.Error("stale while it is an endpoint")
	}
	b.Done()
	b.Note(gone("ns/dns"), false)
	if _, stale := b.Take().Stale(own, Addresses{}); stale {
		t.Error("stale when the Service is gone")
	}
}
