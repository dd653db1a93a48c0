package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"espalier/test/e2e/cluster"
	"espalier/test/netns/lab"
)

// door is where a Service, or a pod, may answer.
type door struct {
	netip.AddrPort
	udp bool
}

func (d door) String() string {
	if d.udp {
		return d.AddrPort.String() + "/udp"
	}
	return d.AddrPort.String() + "/tcp"
}

// doors are those of a Service's ports at an address.
func (s *service) doors(at netip.Addr, number func(corev1.ServicePort) int32) (all []door) {
	for _, p := range s.Spec.Ports {
		if n := number(p); n != 0 {
			all = append(all, door{netip.AddrPortFrom(at, uint16(n)), p.Protocol == corev1.ProtocolUDP})
		}
	}
	return all
}

func portOf(p corev1.ServicePort) int32     { return p.Port }
func nodePortOf(p corev1.ServicePort) int32 { return p.NodePort }

// clusterIP are the doors of all ports at all cluster IPs.
func (s *service) clusterIP() (all []door) {
	for _, ip := range s.Spec.ClusterIPs {
		all = append(all, s.doors(netip.MustParseAddr(ip), portOf)...)
	}
	return all
}

// only are the doors of one port at all cluster IPs.
func (s *service) only(name string) (all []door) {
	for _, ip := range s.Spec.ClusterIPs {
		all = append(all, s.doors(netip.MustParseAddr(ip), func(p corev1.ServicePort) int32 {
			if p.Name != name {
				return 0
			}
			return p.Port
		})...)
	}
	return all
}

// podDoors are those of a pod itself, without the Service, at its address of the family of another one.
func (s *service) podDoors(name string, like netip.Addr) []door {
	a := s.g.address(name, like)
	return []door{{netip.AddrPortFrom(a, 8080), false}, {netip.AddrPortFrom(a, 8081), true}}
}

// at are the doors of all ports at addresses that are the Service's: external IPs, or those of a load balancer.
func (s *service) at(ips ...netip.Addr) (all []door) {
	for _, ip := range ips {
		all = append(all, s.doors(ip, portOf)...)
	}
	return all
}

// nodePorts are the doors of the node ports on some nodes, in the families that the Service has.
func (s *service) nodePorts(nodes ...int) (all []door) {
	for _, i := range nodes {
		for _, a := range s.g.c.Nodes[i].Addrs {
			family := corev1.IPv4Protocol
			if a.Is6() {
				family = corev1.IPv6Protocol
			}
			if slices.Contains(s.Spec.IPFamilies, family) {
				all = append(all, s.doors(a, nodePortOf)...)
			}
		}
	}
	return all
}

// tcp are the doors that are not of UDP.
func tcp(doors []door) []door {
	return slices.DeleteFunc(slices.Clone(doors), func(d door) bool { return d.udp })
}

// udp are the doors of UDP.
func udp(doors []door) []door {
	return slices.DeleteFunc(slices.Clone(doors), func(d door) bool { return !d.udp })
}

// ask asks once, on a new connection or from a new port. What is to be asked is a word that netexec knows, and a text.
func (d door) ask(ctx context.Context, from *lab.Namespace, timeout time.Duration, word, text string) (string, error) {
	if d.udp {
		return d.askUDP(from, timeout, strings.TrimSpace(word+" "+text))
	}
	path := "/" + word
	if text != "" {
		path += "?msg=" + url.QueryEscape(text)
	}
	_, body, err := get(ctx, from, timeout, "http://"+d.AddrPort.String()+path)
	return body, err
}

// get returns what a client gets for a URL, with the status.
func get(ctx context.Context, from *lab.Namespace, timeout time.Duration, url string) (status int, body string, err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	r, err := cluster.HTTP(from, timeout).Do(q)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	return r.StatusCode, string(text), err
}

func (d door) askUDP(from *lab.Namespace, timeout time.Duration, text string) (string, error) {
	var conn net.Conn
	err := from.Go(func() (err error) {
		conn, err = net.Dial("udp", d.AddrPort.String())
		return err
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return "", err
	}
	in := make([]byte, 4096)
	n, err := conn.Read(in)
	return string(in[:n]), err
}

// post sends a request without a body.
func post(ctx context.Context, from *lab.Namespace, url string) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return err
	}
	r, err := cluster.HTTP(from, answerTimeout).Do(q)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	return nil
}

const (
	// answerTimeout is only reached when something is wrong, or a machine very busy.
	answerTimeout = 10 * time.Second
	// answering is how many doors are asked at once that answer: those take processor time, silent ones take none.
	answering = 3
	// silence is how long one waits for somebody who is not to answer: longer than it takes to be refused, see refuses.
	silence = 1500 * time.Millisecond
)

// whoAnswers asks so often that each of some endpoints has answered, in all likelihood.
func whoAnswers(ctx context.Context, from *lab.Namespace, d door, endpoints int) ([]string, error) {
	var names []string
	for range 2 + 7*endpoints {
		name, err := d.ask(ctx, from, answerTimeout, "hostname", "")
		if err != nil {
			return nil, fmt.Errorf("after %d answers: %w", len(names), err)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// each waits until something is so of each door, of some at the same time.
func (g *ground) each(doors []door, atOnce int, what func(door) string, ask func(context.Context, door) error) {
	g.t.Helper()
	if len(doors) == 0 {
		g.t.Fatal("there is no door")
	}
	ctx := patient(g.t)
	var asking errgroup.Group
	asking.SetLimit(atOnce)
	for _, d := range doors {
		asking.Go(func() error {
			return cluster.Until(ctx, what(d), func(ctx context.Context) error { return ask(ctx, d) })
		})
	}
	if err := asking.Wait(); err != nil {
		g.t.Fatal(err)
	}
}

// reaches waits until a client gets an answer at each door, every time, from all of some pods, and from no other.
func (g *ground) reaches(from *lab.Namespace, doors []door, pods ...string) {
	g.t.Helper()
	want := slices.Sorted(slices.Values(pods))
	what := func(d door) string { return fmt.Sprintf("%s reaches %v at %s", from.Name, want, d) }
	g.each(doors, answering, what, func(ctx context.Context, d door) error {
		names, err := whoAnswers(ctx, from, d, len(want))
		if err == nil && !slices.Equal(names, want) {
			err = fmt.Errorf("%v answer", names)
		}
		return err
	})
}

// refuses waits until a client is told at each door that nobody is there. At once, but for TCP by IPv6: the refusal of the
// first SYN comes while the kernel is still sending it here, and is not heeded (TcpExtLockDroppedIcmps), that of the second
// comes after a second.
func (g *ground) refuses(from *lab.Namespace, doors []door) {
	g.t.Helper()
	g.fails(from, doors, "is refused at", answerTimeout, func(err error) bool {
		return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPERM) // a datagram of the node itself is not even sent
	})
}

// ignores waits until a client gets no answer at any door, not even that nobody is there.
func (g *ground) ignores(from *lab.Namespace, doors []door) {
	g.t.Helper()
	g.fails(from, doors, "is not answered at", silence, func(err error) bool {
		timeout, ok := errors.AsType[net.Error](err)
		return ok && timeout.Timeout() || errors.Is(err, syscall.EPERM) // a datagram of the node itself is not even sent
	})
}

// misses waits until a client does not get an answer at any door, for whatever reason.
func (g *ground) misses(from *lab.Namespace, doors []door) {
	g.t.Helper()
	g.fails(from, doors, "does not get an answer at", silence, func(error) bool { return true })
}

func (g *ground) fails(from *lab.Namespace, doors []door, what string, timeout time.Duration, wanted func(error) bool) {
	g.t.Helper()
	named := func(d door) string { return fmt.Sprintf("%s %s %s", from.Name, what, d) }
	g.each(doors, len(doors), named, func(ctx context.Context, d door) error {
		for range 2 {
			name, err := d.ask(ctx, from, timeout, "hostname", "")
			if err == nil {
				return fmt.Errorf("%s answers", name)
			}
			if !wanted(err) {
				return err
			}
		}
		return nil
	})
}

// seenAs waits until the pods behind each door see a client by one of some addresses.
func (g *ground) seenAs(from *lab.Namespace, doors []door, addrs ...netip.Addr) {
	g.t.Helper()
	what := func(d door) string { return fmt.Sprintf("%s is seen as one of %v behind %s", from.Name, addrs, d) }
	g.each(doors, answering, what, func(ctx context.Context, d door) error {
		for range 6 {
			text, err := d.ask(ctx, from, answerTimeout, "clientip", "")
			if err != nil {
				return err
			}
			seen, err := netip.ParseAddrPort(text)
			if err != nil {
				return err
			}
			if !slices.Contains(addrs, seen.Addr().Unmap()) {
				return fmt.Errorf("it is seen as %s", seen)
			}
		}
		return nil
	})
}

// everywhere are all nodes of the cluster.
var everywhere = []int{0, 1, 2}
