package netns

import (
	"net/netip"
	"testing"

	"espalier/test/netns/lab"
)

// addressComes: node ports that answer on some of the node's addresses answer on one that comes later, although nothing
// changes in the cluster; and so do load balancers' health checks.
func addressComes(t *testing.T, s *site) {
	t.Helper()
	const address = "192.168.70.2"
	s.flags = []string{"--nodeport-addresses", "192.168.70.0/24"}
	endpoints := endpointsFrom(1, 2)
	s.put(t, "web", cluster{
		service("ns1/web", "172.30.0.41", tcpPort("p80", 80, 3001)),
		slice("ns1/web", target("p80", 80), endpoints...),
	})
	s.put(t, "local", cluster{
		service("ns1/local", "172.30.0.49", loadBalancer("192.168.99.22"), externally("Local"), healthCheck(30002), tcpPort("p80", 80, 3002)),
		slice("ns1/local", target("p80", 80), endpoints[0]+" local"),
	})
	s.start(t)
	port := row{from: external, to: tcp(address + ":3001")}
	served := func(r row) bool {
		o, err := s.Try(r.probe(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		return o.Verdict == lab.Answered && o.Answer.At.Addr() != r.to.addr.Addr()
	}
	if served(port) {
		t.Fatal("it answers before the node has the address")
	}
	if err := s.AddNodeAddress(netip.MustParseAddr(address)); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, repaired, func() string {
		if !served(port) {
			return "the node port does not answer"
		}
		return s.asked(address + ":30002")
	})
}

// asked says what is wrong with a health-check node port, or nothing.
func (s *site) asked(address string) string {
	out, err := s.Host(lab.Node).Command(nil, "bash", "-c",
		"exec 3<>/dev/tcp/"+netip.MustParseAddrPort(address).Addr().String()+"/30002; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3")
	if err != nil {
		return err.Error()
	}
	if string(out) != "HTTP/1.0 200 OK\r\n" {
		return "the health check answers " + string(out)
	}
	return ""
}
