package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/status/statustest"
	"espalier/test/netns/lab"
	"espalier/watcher/kube/kubetest"
)

// patience is how long a test waits for something that must happen.
const patience = time.Minute

const nodeName = "node-1"

// node is a namespace with the program in it, an API server, and the script in front of iptables.
type node struct {
	*lab.Namespace
	t      *testing.T
	api    *kubetest.Server
	server *http.Server
	dir    string // what the script looks at
	client http.Client
	log    lab.Record
	// kubeProxy is the path of kube-proxy, if that is run in place of the program.
	kubeProxy string
}

// program builds the program once for all tests.
var program = sync.OnceValues(func() (string, error) {
	path := programPath()
	if out, err := exec.Command("go", "build", "-o", path, "espalier/cmd/espalier").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

func programPath() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("espalier-status-%d", os.Getpid()))
}

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.Remove(programPath()) // if it was built
	os.Exit(code)
}

// newNode makes a namespace with an API server that has some objects.
func newNode(t *testing.T) *node {
	t.Helper()
	if err := lab.Usable(); err != nil {
		cannot(t, err)
	}
	ns, err := lab.NewNamespace("status")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Namespace: ns, t: t, api: kubetest.New(), dir: t.TempDir()}
	t.Cleanup(n.Close)
	if _, err := n.Command(nil, "ip", "link", "set", "lo", "up"); err != nil {
		t.Fatal(err)
	}
	// The sockets of the test's client are in the namespace, too.
	n.client = http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = n.Do(func() (err error) {
				conn, err = new(net.Dialer).DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		},
	}}
	t.Cleanup(n.client.CloseIdleConnections)
	n.serveAPI()
	n.api.Apply(service("web", "172.30.0.1"), slice("web", "10.180.0.1", "10.180.0.2"))
	return n
}

// cannot skips the test, or fails it where NETNS=1 says that everything is there.
func cannot(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("NETNS") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// listen takes an address of the namespace.
func (n *node) listen(address string) (l net.Listener) {
	n.t.Helper()
	err := n.Do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return l
}

func (n *node) serveAPI() {
	n.t.Helper()
	l := n.listen("127.0.0.1:6443")
	n.server = &http.Server{Handler: n.api}
	go func() { _ = n.server.Serve(l) }()
	n.t.Cleanup(n.stopAPI)
}

// stopAPI takes the API server away: connections break, and new ones are refused.
func (n *node) stopAPI() {
	n.api.Cut()
	_ = n.server.Close()
}

// command returns the program with its arguments.
func (n *node) command(args ...string) []string {
	n.t.Helper()
	flags := append([]string{"--master", "http://127.0.0.1:6443", "--hostname-override", nodeName,
		"--cluster-cidr", "10.0.0.0/8", "-v", "2", "--conntrack-max-per-core", "0"}, args...)
	if n.kubeProxy != "" {
		return append([]string{n.kubeProxy}, flags...)
	}
	path, err := program()
	if err != nil {
		n.t.Fatal(err)
	}
	return append([]string{path, "run", "--iptables-backend", "nft"}, flags...)
}

// start starts the program; it ends with the test.
func (n *node) start(args ...string) {
	n.t.Helper()
	argv := n.command(args...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+n.obstacle()+":"+os.Getenv("PATH"),
		"XTABLES_LOCKFILE="+n.lock()) // the lock is for the whole machine, and so is its usual file
	cmd.Stdout, cmd.Stderr = &n.log, &n.log
	// The thread that forks it lives as long as the namespace.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := n.Do(cmd.Start); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil && n.kubeProxy == "" {
			n.t.Errorf("the program ended with %v", err)
		}
		if n.t.Failed() {
			n.t.Logf("log of the program:\n%s", &n.log)
		}
	})
}

// obstacle returns a directory with a script in place of iptables-nft-restore. It says that the lock is held as long as
// the file "busy" exists, and refuses rules with the address that is in the file "refused".
func (n *node) obstacle() string {
	n.t.Helper()
	kernel, err := iptables.Open(n.t.Context(), ipproto.IPv4, iptables.NFT)
	if err != nil {
		cannot(n.t, err)
	}
	script := fmt.Sprintf(`#!/bin/sh
case "$1" in -V|--version) exec %[1]s "$@";; esac
input=$(mktemp)
trap 'rm -f "$input"' EXIT
cat >"$input"
if [ -e %[2]s/busy ]; then
	echo 'Another app is currently holding the xtables lock. Perhaps you want to use the -w option?' >&2
	exit 4
fi
if [ -s %[2]s/refused ]; then
	line=$(grep -nFf %[2]s/refused -m1 "$input" | cut -d: -f1)
	if [ -n "$line" ]; then
		printf 'iptables-nft-restore v1.8.9 (nf_tables): \nline %%d: RULE_APPEND failed (No such file or directory): rule in chain A\n' "$line" >&2
		exit 1
	fi
fi
%[1]s "$@" <"$input"
`, kernel.RestoreCommand, n.dir)
	bin := n.t.TempDir()
	for _, name := range []string{filepath.Base(kernel.RestoreCommand), "iptables-restore"} { // kube-proxy starts the latter
		if err := os.WriteFile(filepath.Join(bin, name), []byte(script), 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	return bin
}

// lock is the file of the lock that the legacy tools take.
func (n *node) lock() string { return filepath.Join(n.dir, "xtables.lock") }

// put writes a file that the script looks at.
func (n *node) put(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.dir, name), []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) remove(name string) {
	n.t.Helper()
	if err := os.Remove(filepath.Join(n.dir, name)); err != nil {
		n.t.Fatal(err)
	}
}

// get asks the program.
func (n *node) get(url string, headers ...string) (code int, body string, err error) {
	req, err := http.NewRequestWithContext(n.t.Context(), http.MethodGet, "http://127.0.0.1:"+url, nil)
	if err != nil {
		return 0, "", err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := n.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// health is the body of a probe.
type health struct {
	NodeEligible *bool
	Healthy      bool
	Status       map[string]struct{ Healthy bool }
}

// probe asks a probe, and says in short what the answer is: "503 healthy, not eligible, IPv4 healthy, IPv6 healthy".
func (n *node) probe(path string) string {
	code, body, err := n.get("10256" + path)
	if err != nil {
		return err.Error()
	}
	var h health
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		return fmt.Sprintf("%d %v: %s", code, err, body)
	}
	text := fmt.Sprintf("%d %s", code, word(h.Healthy, "healthy"))
	if h.NodeEligible != nil {
		text += ", " + word(*h.NodeEligible, "eligible")
	}
	for _, f := range []string{"IPv4", "IPv6"} {
		if s, ok := h.Status[f]; ok {
			text += ", " + f + " " + word(s.Healthy, "healthy")
		}
	}
	return text
}

func word(is bool, what string) string {
	if is {
		return what
	}
	return "not " + what
}

// metrics scrapes the program.
func (n *node) metrics() map[string]*dto.MetricFamily {
	n.t.Helper()
	_, body, err := n.get("10249/metrics")
	if err != nil {
		n.t.Fatal(err)
	}
	families, err := statustest.Parse(strings.NewReader(body))
	if err != nil {
		n.t.Fatal(err)
	}
	return families
}

// value returns a metric of IPv4.
func (n *node) value(name string) float64 {
	v, _ := statustest.Value(n.metrics(), name, map[string]string{"ip_family": "IPv4"})
	return v
}

// eventually polls until get returns what is wanted, and says how long that took.
func (n *node) eventually(what, want string, get func() string) time.Duration {
	n.t.Helper()
	started := time.Now()
	for {
		got := get()
		took := time.Since(started)
		if got == want {
			return took
		}
		if took > patience {
			n.t.Fatalf("%s: %q, want %q; log of the program:\n%s", what, got, want, &n.log)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// eventuallyProbe waits for an answer.
func (n *node) eventuallyProbe(path, want string) time.Duration {
	n.t.Helper()
	return n.eventually(path, want, func() string { return n.probe(path) })
}

// wantProbe checks the answer of this moment.
func (n *node) wantProbe(path, want string) {
	n.t.Helper()
	if got := n.probe(path); got != want {
		n.t.Errorf("%s: %q, want %q", path, got, want)
	}
}

// synced waits for the first syncs.
func (n *node) synced() {
	n.t.Helper()
	n.eventually("first sync", "1", func() string {
		if _, _, err := n.get("10249/healthz"); err != nil {
			return err.Error()
		}
		return fmt.Sprint(min(1, n.value("kubeproxy_sync_proxy_rules_last_timestamp_seconds")))
	})
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec: corev1.ServiceSpec{
			ClusterIP: ip, ClusterIPs: []string{ip}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
}

func slice(of string, addrs ...string) *discoveryv1.EndpointSlice {
	name, port, tcp, here := "http", int32(8080), corev1.ProtocolTCP, nodeName
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: of + "-1",
			Labels:      map[string]string{discoveryv1.LabelServiceName: of},
			Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: time.Now().UTC().Format(time.RFC3339Nano)},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
	}
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, NodeName: &here})
	}
	return s
}

func nodeObject(change ...func(*corev1.Node)) *corev1.Node {
	o := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: nodeName},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.0.1"}}},
	}
	for _, c := range change {
		c(o)
	}
	return o
}
