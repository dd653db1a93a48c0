package image

import (
	"bufio"
	"bytes"
	"debug/elf"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"espalier/proxier/iptables"
	"espalier/test/container"
	"espalier/test/netns/lab"
)

const patience = 30 * time.Second

var collected = flag.String("rootfs", "", "a root file system that rootfs.sh has collected on another system")

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == container.Role {
		os.Exit(container.Run(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// rootfs is what the Dockerfile makes, but for the packages, which are those of this machine.
func rootfs(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if *collected != "" {
		if err := os.CopyFS(root, os.DirFS(*collected)); err != nil {
			t.Fatal(err)
		}
	} else if out, err := exec.Command("sh", "rootfs.sh", root).CombinedOutput(); err != nil {
		t.Fatalf("rootfs.sh: %v\n%s", err, out)
	}
	program := filepath.Join(root, "usr/local/bin/espalier")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-o", program, "espalier/cmd/espalier")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return root
}

// The Dockerfile copies what is there and what .dockerignore lets through, and names the program as the DaemonSet does.
func TestDockerfile(t *testing.T) {
	text := read(t, "Dockerfile")
	ignore := strings.Split(read(t, "Dockerfile.dockerignore"), "\n")
	for _, copied := range regexp.MustCompile(`(?m)^COPY (?:--from=(\w+) )?(.+) \S+$`).FindAllStringSubmatch(text, -1) {
		if copied[1] != "" {
			continue
		}
		for source := range strings.FieldsSeq(copied[2]) {
			if _, err := os.Stat(filepath.Join("../..", source)); err != nil && source != "go.sum" {
				t.Errorf("COPY: %v", err)
			}
			if !slices.Contains(ignore, "!"+source) {
				t.Errorf("COPY: %s is not in the context", source)
			}
		}
	}
	program := daemonSet(t, "base").Spec.Template.Spec.Containers[0].Command[0]
	for _, part := range []string{
		"COPY --from=build /espalier /rootfs" + program + "\n",
		"ln -s espalier /rootfs/usr/local/bin/kube-proxy\n",
		"ENTRYPOINT [\"" + program + "\"]\n",
		"sh /rootfs.sh /rootfs ",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("there is no %q", part)
		}
	}
}

// TestLibraries looks at every binary: the loader it names is there, and each library it wants. Ours wants none.
func TestLibraries(t *testing.T) {
	root := rootfs(t)
	binaries := map[string]*elf.File{}
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		names[filepath.Base(path)] = true
		if d.Type().IsRegular() {
			f, err := elf.Open(path)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			binaries[strings.TrimPrefix(path, root)] = f
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, f := range binaries {
		wants, err := f.ImportedLibraries()
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		for _, library := range wants {
			if !names[library] {
				t.Errorf("%s wants %s, which is not there", path, library)
			}
		}
		if i := slices.IndexFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }); i >= 0 {
			var loader bytes.Buffer
			_, _ = loader.ReadFrom(f.Progs[i].Open())
			if path == "/usr/local/bin/espalier" || !names[filepath.Base(strings.TrimRight(loader.String(), "\x00"))] {
				t.Errorf("%s wants the loader %s", path, &loader)
			}
		}
		_ = f.Close()
	}
	if len(binaries) < 50 {
		t.Errorf("only %d binaries: where are the extensions?", len(binaries))
	}
}

// machine is a network namespace in which containers are started as the DaemonSet says.
type machine struct {
	*lab.Namespace
	t      *testing.T
	root   string
	set    *appsv1.DaemonSet
	mounts []container.Mount
	score  int // of the OOM killer
	log    lab.Record
}

// shop is a Service with two endpoints in each family.
const shop = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.4.1
  clusterIPs: [10.96.4.1, "fd00:10:96::41"]
  ipFamilies: [IPv4, IPv6]
  sessionAffinity: ClientIP
  ports: [{name: http, port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.1.9]}, {addresses: [10.244.2.4]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-2, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints: [{addresses: ["fd00:10:244::9"]}]
`

// newMachine makes one whose kubelet uses a backend. The size of the conntrack table cannot be set in a namespace, so it is
// left as it is; so is the OOM score that this process has.
func newMachine(t *testing.T, root, variant string, backend iptables.Backend) *machine {
	t.Helper()
	ns, err := lab.NewNamespace("machine")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Close)
	etc, lock, manifests := t.TempDir(), filepath.Join(t.TempDir(), "xtables.lock"), t.TempDir()
	m := &machine{Namespace: ns, t: t, root: root, set: daemonSet(t, variant), mounts: []container.Mount{
		{From: etc, To: "/etc/espalier", ReadOnly: true}, {From: lock, To: "/run/xtables.lock"}, {From: manifests, To: "/shop", ReadOnly: true},
	}}
	var config corev1.ConfigMap
	if err := yaml.Unmarshal([]byte(read(t, "../base/configmap.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	score := strings.TrimSpace(read(t, "/proc/self/oom_score_adj")) // the kubelet's -997 may be out of reach here
	if m.score, err = strconv.Atoi(score); err != nil {
		t.Fatal(err)
	}
	config.Data["config.conf"] = strings.NewReplacer("maxPerCore: 32768", "maxPerCore: 0", "oomScoreAdj: -997", "oomScoreAdj: "+score).Replace(config.Data["config.conf"])
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range config.Data {
		write(filepath.Join(etc, name), text)
	}
	write(lock, "")
	write(filepath.Join(manifests, "shop.yaml"), shop)
	for _, family := range []string{"iptables", "ip6tables"} {
		if _, err := ns.Command(strings.NewReader("*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n"), family+"-"+backend.String()+"-restore", "--noflush"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ns.Command(nil, "ip", "link", "set", "lo", "up"); err != nil {
		t.Fatal(err)
	}
	return m
}

// start starts a container of the DaemonSet, which serves manifests instead of a cluster.
func (m *machine) start(c corev1.Container) (wait func() error, stop func()) {
	m.t.Helper()
	s := container.Spec{
		Root: m.t.TempDir(), Image: m.root, Mounts: m.mounts, Env: []string{"PATH=/usr/local/bin:/usr/sbin"}, OOMScoreAdjust: m.score,
		Privileged: *c.SecurityContext.Privileged, ReadOnlyRoot: *c.SecurityContext.ReadOnlyRootFilesystem,
		NoNewPrivileges: c.SecurityContext.AllowPrivilegeEscalation != nil && !*c.SecurityContext.AllowPrivilegeEscalation,
	}
	if caps := c.SecurityContext.Capabilities; caps != nil {
		for _, name := range caps.Add {
			s.Capabilities = append(s.Capabilities, string(name))
		}
	}
	for _, arg := range c.Command {
		s.Argv = append(s.Argv, strings.ReplaceAll(arg, "$(NODE_NAME)", "node-1"))
	}
	s.Argv = append(s.Argv, "--manifests=/shop", "-v=2")
	cmd, err := s.Command()
	if err != nil {
		m.t.Fatal(err)
	}
	m.log = lab.Record{}
	cmd.Stdout, cmd.Stderr = &m.log, &m.log
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := m.Do(cmd.Start); err != nil { // a child inherits the namespace of the thread that forks it
		m.t.Fatal(err)
	}
	wait = sync.OnceValue(cmd.Wait)
	m.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = wait() })
	return wait, func() { _ = cmd.Process.Signal(syscall.SIGTERM) }
}

// awaitLog waits for texts in the log.
func (m *machine) awaitLog(texts ...string) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		log := m.log.String()
		if !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(log, s) }) {
			return
		}
		if strings.Contains(log, "\nerror: ") || time.Now().After(deadline) {
			m.t.Fatalf("the log does not have all of %q:\n%s", texts, log)
		}
	}
}

// The DaemonSet's two containers, in the image, with what they are granted, on both backends.
func TestInTheImage(t *testing.T) {
	if err := lab.Usable(); err != nil || lab.Rootless() {
		text := fmt.Sprintf("needs root, for namespaces and mounts: %v", err)
		if os.Getenv("NETNS") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	root := rootfs(t)
	for variant, backend := range map[string]iptables.Backend{"base": iptables.NFT, "legacy": iptables.Legacy} {
		t.Run(variant, func(t *testing.T) {
			m := newMachine(t, root, variant, backend)
			pod := m.set.Spec.Template.Spec

			wait, _ := m.start(pod.Containers[0])
			if err := wait(); err == nil || !strings.Contains(m.log.String(), "run --init-only in a privileged init container") {
				t.Errorf("before the init container: error %v, and the log does not say what to do:\n%s", err, &m.log)
			}
			if wait, _ = m.start(pod.InitContainers[0]); wait() != nil {
				t.Fatalf("init container:\n%s", &m.log)
			}
			wait, stop := m.start(pod.Containers[0])
			m.awaitLog(`"Synced" family="ipv4"`, `"Synced" family="ipv6"`, "because=\"the kubelet's chain KUBE-IPTABLES-HINT is there\"", "backend=\""+backend.String()+"\"")
			m.livez()
			stop()
			if err := wait(); err != nil {
				t.Errorf("after SIGTERM: %v\n%s", err, &m.log)
			}
			if log := m.log.String(); strings.Contains(log, "not protected from the OOM killer") || strings.Contains(log, "Family is not served") {
				t.Errorf("something was amiss:\n%s", log)
			}
			for family, address := range map[string]string{"iptables": "10.96.4.1/32", "ip6tables": "fd00:10:96::41/128"} {
				rules, err := m.Command(nil, family+"-"+backend.String()+"-save", "-t", "nat")
				if err != nil || !strings.Contains(string(rules), "-d "+address) {
					t.Errorf("no rule for %s, error %v:\n%s", address, err, rules)
				}
			}
		})
	}
}

// livez asks as the kubelet does.
func (m *machine) livez() {
	m.t.Helper()
	var conn net.Conn
	err := m.Do(func() (err error) { // a socket belongs to the namespace of the thread that makes it
		conn, err = net.Dial("tcp", "127.0.0.1:10256")
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
	defer conn.Close()
	path := m.set.Spec.Template.Spec.Containers[0].LivenessProbe.HTTPGet.Path
	fmt.Fprintf(conn, "GET %s HTTP/1.0\r\n\r\n", path)
	if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.Contains(line, " 200 ") {
		m.t.Errorf("%s: %q, error %v", path, line, err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// daemonSet is that of the base, with the capabilities of a variant.
func daemonSet(t *testing.T, variant string) *appsv1.DaemonSet {
	t.Helper()
	parse := func(file string) *appsv1.DaemonSet {
		var set appsv1.DaemonSet
		if err := yaml.Unmarshal([]byte(read(t, "../"+file+"/daemonset.yaml")), &set); err != nil {
			t.Fatal(err)
		}
		return &set
	}
	set := parse("base")
	if variant != "base" {
		set.Spec.Template.Spec.Containers[0].SecurityContext.Capabilities.Add = parse(variant).Spec.Template.Spec.Containers[0].SecurityContext.Capabilities.Add
	}
	return set
}
