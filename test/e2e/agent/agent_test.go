package agent

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"espalier/test/e2e/pods"
	"espalier/test/e2e/wire"
	"espalier/test/netns/lab"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == pods.Role {
		os.Exit(pods.Run(os.Args[2:]))
	}
	os.Exit(m.Run())
}

const patience = 30 * time.Second

// bench is one node with its agent, in front of an API server that only remembers.
type bench struct {
	*testing.T
	ctx    context.Context
	client *fake.Clientset
	node   *wire.Node
	agent  *Agent

	stop    context.CancelFunc
	stopped chan error
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("builds network namespaces: run without -short")
	}
	if err := lab.Usable(); err != nil {
		t.Skip(err)
	}
	control, err := lab.NewNamespace("control")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Close)
	w, err := wire.New(wire.Config{Control: control, Mode: wire.Routed, Nodes: 1, ClusterCIDRs: []netip.Prefix{
		netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	b := &bench{T: t, ctx: ctx, client: fake.NewClientset(), node: w.Nodes()[0]}
	b.agent = New(Config{Client: b.client, Node: b.node, Zone: "zone-1", Backoff: 50 * time.Millisecond, Log: quietAfter(t)})
	b.start()
	t.Cleanup(b.halt)
	go b.control()
	return b
}

// quietAfter returns the test's log, which nobody may write to when the test is over.
func quietAfter(t *testing.T) func(string, ...any) {
	var mu sync.Mutex
	over := false
	t.Cleanup(func() { mu.Lock(); over = true; mu.Unlock() })
	return func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			t.Logf(format, args...)
		}
	}
}

// control gives the node its pod ranges, as the controller manager does: again if they are lost, as the fake API server lets
// an older object overwrite a newer one.
func (b *bench) control() {
	for b.ctx.Err() == nil {
		node, err := b.client.CoreV1().Nodes().Get(b.ctx, b.node.Name, metav1.GetOptions{})
		if err == nil && len(node.Spec.PodCIDRs) == 0 {
			node.Spec.PodCIDRs = []string{"10.244.1.0/24", "fd00:10:244:1::/64"}
			_, _ = b.client.CoreV1().Nodes().Update(b.ctx, node, metav1.UpdateOptions{}) // tried again
		}
		pause(b.ctx, 5*time.Millisecond)
	}
}

func (b *bench) start() {
	ctx, stop := context.WithCancel(b.ctx)
	b.stop, b.stopped = stop, make(chan error, 1)
	stopped := b.stopped
	go func() { stopped <- b.agent.Run(ctx) }()
}

// halt pulls the plug, and checks that nothing is left.
func (b *bench) halt() {
	b.Helper()
	if b.stop == nil {
		return
	}
	b.stop()
	if err := <-b.stopped; err != nil && b.ctx.Err() == nil {
		b.Errorf("the agent ended with %v", err)
	}
	b.stop = nil
	if left := containers(); len(left) > 0 {
		b.Errorf("containers are left: %q", left)
	}
	if left := b.agent.Pods(); len(left) > 0 {
		b.Errorf("pods are left: %v", left)
	}
}

// containers returns the command lines of this process's children that are containers.
func containers() (found []string) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", os.Getpid()))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for _, pid := range strings.Fields(string(text)) {
			line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if args := strings.Split(string(line), "\x00"); len(args) > 2 && args[1] == pods.Role {
				found = append(found, strings.Join(args[1:], " "))
			}
		}
	}
	return found
}

// create makes a pod that is bound to the node.
func (b *bench) create(name string, change func(*corev1.Pod)) {
	b.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "test", UID: types.UID(name + "-uid")},
		Spec: corev1.PodSpec{
			NodeName: b.node.Name, RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "main", Image: "e2e.example/netexec:1"}},
		},
	}
	if change != nil {
		change(p)
	}
	if _, err := b.client.CoreV1().Pods("test").Create(b.ctx, p, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
}

// delete marks a pod as deleted, as the API server does.
func (b *bench) delete(name string, grace int64) {
	b.Helper()
	p := b.pod(name)
	p.DeletionTimestamp = new(metav1.NewTime(time.Now().Add(time.Duration(grace) * time.Second)))
	p.DeletionGracePeriodSeconds = &grace
	if _, err := b.client.CoreV1().Pods("test").Update(b.ctx, p, metav1.UpdateOptions{}); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) pod(name string) *corev1.Pod {
	b.Helper()
	p, err := b.client.CoreV1().Pods("test").Get(b.ctx, name, metav1.GetOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// await waits until a pod is as wished and returns it; nil if it is wished that there is none.
func (b *bench) await(name, what string, wished func(*corev1.Pod) bool) *corev1.Pod {
	b.Helper()
	for {
		p, err := b.client.CoreV1().Pods("test").Get(b.ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			p = nil
		case err != nil:
			b.Fatalf("wait until pod %s %s: %v", name, what, err)
		}
		if p == nil && wished == nil || p != nil && wished != nil && wished(p) {
			return p
		}
		if b.ctx.Err() != nil {
			b.Fatalf("pod %s: it never %s; it is %+v", name, what, p)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (b *bench) awaitReady(name string) *corev1.Pod {
	b.Helper()
	return b.await(name, "becomes ready", isReady)
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.Status.ContainerStatuses[0].Ready && p.Status.Phase == corev1.PodRunning
		}
	}
	return false
}

// ask asks a pod for a page, from the node.
func (b *bench) ask(p *corev1.Pod, method, path string) (string, error) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: b.node.DialContext}}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+netip.AddrPortFrom(netip.MustParseAddr(p.Status.PodIPs[0].IP), 8080).String()+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}
