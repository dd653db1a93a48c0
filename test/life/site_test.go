package life

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/netns/lab"
	"espalier/watcher/kube/kubetest"
)

// patience is how long a test waits for something that must happen.
const patience = 30 * time.Second

// site is a namespace with an API server and the program.
type site struct {
	*lab.Namespace
	t      *testing.T
	api    *kubetest.Server
	server *http.Server
	env    []string

	cmd   *exec.Cmd
	log   lab.Record
	ended chan struct{} // closed when the program has
}

// program builds the program once for all tests.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "espalier-life-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "espalier")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "espalier/cmd/espalier").CombinedOutput(); err != nil {
		return path, fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	path, _ := program()
	_ = os.RemoveAll(filepath.Dir(path))
	os.Exit(code)
}

// newSite makes a site of which nothing runs but the API server, with the Service shop/web.
func newSite(t *testing.T) *site {
	t.Helper()
	if err := lab.Usable(); err != nil {
		cannot(t, err)
	}
	if _, err := exec.LookPath("iptables-nft-restore"); err != nil {
		cannot(t, err)
	}
	ns, err := lab.NewNamespace("life")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Close)
	s := &site{Namespace: ns, t: t, api: kubetest.New(), ended: make(chan struct{})}
	s.env = append(os.Environ(), "XTABLES_LOCKFILE="+filepath.Join(t.TempDir(), "lock"))
	s.command("ip", "link", "set", "lo", "up")
	s.api.Apply(service("web", "172.30.0.1"), slice("web", "10.180.0.1"))
	s.serve()
	return s
}

// cannot skips the test, or fails it where NETNS=1 says that everything is there.
func cannot(t *testing.T, why error) {
	t.Helper()
	if os.Getenv("NETNS") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// command runs a command in the namespace and returns what it prints.
func (s *site) command(argv ...string) string {
	s.t.Helper()
	out, err := s.Command(nil, argv...)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(out)
}

// refuse puts a script in front of iptables-nft-restore that refuses rules with an address, as the tool does with what
// the kernel does not take, until heal is called.
func (s *site) refuse(address string) (heal func()) {
	s.t.Helper()
	real, err := exec.LookPath("iptables-nft-restore")
	if err != nil {
		s.t.Fatal(err)
	}
	bin := s.t.TempDir()
	bad := filepath.Join(bin, "refused")
	script := fmt.Sprintf(`#!/bin/sh
case "$1" in -V|--version) exec %[1]s "$@";; esac
input=$(mktemp)
trap 'rm -f "$input"' EXIT
cat >"$input"
line=$(grep -nFf %[2]s -m1 "$input" 2>/dev/null | cut -d: -f1)
if [ -n "$line" ]; then
	printf 'iptables-nft-restore v1.8.9 (nf_tables): \nline %%d: RULE_APPEND failed (No such file or directory): rule in chain A\n' "$line" >&2
	exit 1
fi
%[1]s "$@" <"$input"
`, real, bad)
	if err := os.WriteFile(filepath.Join(bin, "iptables-nft-restore"), []byte(script), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(bad, []byte(address+"\n"), 0o644); err != nil {
		s.t.Fatal(err)
	}
	s.env = append(s.env, "PATH="+bin+":"+os.Getenv("PATH"))
	return func() {
		if err := os.Remove(bad); err != nil {
			s.t.Fatal(err)
		}
	}
}

// serve lets the API server listen.
func (s *site) serve() {
	s.t.Helper()
	l := s.listen("127.0.0.1:6443")
	s.server = &http.Server{Handler: s.api}
	go func() { _ = s.server.Serve(l) }()
	s.t.Cleanup(s.silence)
}

// silence takes the API server away: connections break, and new ones are refused.
func (s *site) silence() {
	s.api.Cut()
	_ = s.server.Close()
}

func (s *site) listen(on string) (l net.Listener) {
	s.t.Helper()
	err := s.Do(func() (err error) {
		l, err = net.Listen("tcp4", on)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return l
}

// start starts the program. It ends with the test at the latest.
func (s *site) start(args ...string) {
	s.t.Helper()
	path, err := program()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.Command(path, append([]string{"run", "--master", "http://127.0.0.1:6443", "--hostname-override", "node-1",
		"--iptables-backend", "nft", "-v", "2"}, args...)...)
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.env, &s.log, &s.log
	// The thread that forks it lives as long as the namespace.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.Do(s.cmd.Start); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	s.t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		if s.t.Failed() {
			s.t.Logf("log of the program:\n%s", &s.log)
		}
	})
}

// eventually waits until a text is as wanted.
func (s *site) eventually(what, want string, get func() string) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := get()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %s, want %s", what, got, want)
		}
		time.Sleep(20 * time.Millisecond) // other processes do not tell
	}
}

// served waits until there are rules for a cluster IP.
func (s *site) served(ip string) {
	s.t.Helper()
	s.eventually("rules for "+ip, "true", func() string { return fmt.Sprint(strings.Contains(s.rules(), ip)) })
}

func (s *site) rules() string { return s.command("iptables-nft-save", "-t", "nat") }

// exits waits for the end of the program, which must be one with a status and with last words.
func (s *site) exits(status int, words string) {
	s.t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.t.Fatal("the program goes on")
	}
	if got := s.cmd.ProcessState.ExitCode(); got != status {
		s.t.Errorf("exit status %d, want %d", got, status)
	}
	if log := s.log.String(); !strings.Contains(log[strings.LastIndex(strings.TrimSpace(log), "\n")+1:], words) {
		s.t.Errorf("the last line does not say %q", words)
	}
}

func (s *site) runs() {
	s.t.Helper()
	select {
	case <-s.ended:
		s.t.Fatal("the program ended")
	default:
	}
}

// events returns what was told, in order: "Warning Service shop/web Listen Reason".
func (s *site) events() (list []string) {
	for _, e := range s.api.Events() {
		of := strings.TrimPrefix(e.Regarding.Namespace+"/"+e.Regarding.Name, "/")
		list = append(list, strings.Join([]string{e.Type, e.Regarding.Kind, of, e.Action, e.Reason}, " "))
	}
	return list
}

// told waits for an event.
func (s *site) told(event string) {
	s.t.Helper()
	s.eventually("events", "told", func() string {
		if slices.Contains(s.events(), event) {
			return "told"
		}
		return strings.Join(s.events(), "; ") + " without " + event
	})
}

// terminate asks the program to end.
func (s *site) terminate() {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Error(err)
	}
}

func service(name, ip string) *corev1.Service {
	o := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
	o.Spec.Type, o.Spec.ClusterIP, o.Spec.ClusterIPs = corev1.ServiceTypeClusterIP, ip, []string{ip}
	o.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	o.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
	return o
}

func slice(service string, endpoints ...string) *discoveryv1.EndpointSlice {
	o := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: service + "-1"}}
	o.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	o.AddressType = discoveryv1.AddressTypeIPv4
	o.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}}
	for _, a := range endpoints {
		o.Endpoints = append(o.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, NodeName: new("node-1")})
	}
	return o
}

// node is the own Node with its internal addresses.
func node(addrs ...string) *corev1.Node {
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	for _, a := range addrs {
		o.Status.Addresses = append(o.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	return o
}
