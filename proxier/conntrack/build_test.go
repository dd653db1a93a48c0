package conntrack

import (
	"fmt"
	"net/netip"
	"strings"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
)

var dns = model.PortKey{Name: "dns", Proto: ipproto.UDP}

// service returns a Service with one UDP port; the options add to it.
func service(name, clusterIP string, port uint16, options ...func(*model.Entry)) model.Entry {
	ns, name, _ := strings.Cut(name, "/")
	e := model.Entry{Service: &model.Service{
		Name:      model.ServiceName{Namespace: ns, Name: name},
		ClusterIP: netip.MustParseAddr(clusterIP),
		Ports:     []model.ServicePort{{PortKey: dns, Port: port}},
	}}
	for _, option := range options {
		option(&e)
	}
	return e
}

func vip(a string) func(*model.Entry) {
	return func(e *model.Entry) { e.Service.VIPs = append(e.Service.VIPs, netip.MustParseAddr(a)) }
}

func externalIP(a string) func(*model.Entry) {
	return func(e *model.Entry) { e.Service.ExternalIPs = append(e.Service.ExternalIPs, netip.MustParseAddr(a)) }
}

func nodePort(p uint16) func(*model.Entry) {
	return func(e *model.Entry) { e.Service.Ports[0].NodePort = p }
}

// also adds a port with the same number and other protocol.
func also(p ipproto.Proto) func(*model.Entry) {
	return func(e *model.Entry) {
		twin := e.Service.Ports[0]
		twin.PortKey = model.PortKey{Name: p.String(), Proto: p}
		e.Service.Ports = append(e.Service.Ports, twin)
		e.Backends[twin.PortKey] = e.Backends[dns]
	}
}

// to gives the Service endpoints. One reads "10.244.1.2:53 draining": an address, then its state, which is ready
// (also when not said), draining (serving while it terminates), unready (ready, but not serving, because of
// publishNotReadyAddresses) or gone (known, and nothing else).
func to(endpoints ...string) func(*model.Entry) {
	return func(e *model.Entry) {
		list := []model.Endpoint{}
		for _, text := range endpoints {
			addr, state, _ := strings.Cut(text, " ")
			one := model.Endpoint{Addr: netip.MustParseAddrPort(addr)}
			switch state {
			case "":
				one.Ready, one.Serving = true, true
			case "draining":
				one.Serving, one.Terminating = true, true
			case "unready":
				one.Ready = true
			case "gone":
				one.Terminating = true
			default:
				panic(fmt.Sprintf("no such state: %s", state))
			}
			list = append(list, one)
		}
		e.Backends = model.Backends{dns: list}
	}
}

// cluster is all Services.
func cluster(all ...model.Entry) map[model.ServiceName]model.Entry {
	m := map[model.ServiceName]model.Entry{}
	for _, e := range all {
		m[e.Service.Name] = e
	}
	return m
}

// gone is a step in which a Service went away.
func gone(name string) map[model.ServiceName]model.Entry {
	ns, name, _ := strings.Cut(name, "/")
	return map[model.ServiceName]model.Entry{{Namespace: ns, Name: name}: {}}
}
