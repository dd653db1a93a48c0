package agent

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func TestPodRunsWithAnAddressOfItsNode(t *testing.T) {
	b := newBench(t)
	b.create("web", nil)
	p := b.awaitReady("web")
	ranges := b.node.PodCIDRs()
	for i, ip := range p.Status.PodIPs {
		if !ranges[i].Contains(netip.MustParseAddr(ip.IP)) {
			t.Errorf("pod IP %s is not in %s", ip.IP, ranges[i])
		}
	}
	if len(p.Status.PodIPs) != 2 || p.Status.PodIP != p.Status.PodIPs[0].IP || p.Status.HostIP != b.node.Addrs[0].String() {
		t.Errorf("addresses: %v, %s, %s", p.Status.PodIPs, p.Status.PodIP, p.Status.HostIP)
	}
	if got, err := b.ask(p, http.MethodGet, "/hostname"); got != "web" || err != nil {
		t.Errorf("it says %q, %v", got, err)
	}
	lease, err := b.client.CoordinationV1().Leases(leaseNamespace).Get(b.ctx, b.node.Name, metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != b.node.Name {
		t.Errorf("the node's lease: %v, %v", lease, err)
	}
}

func TestCrashIsCountedAndRestarted(t *testing.T) {
	b := newBench(t)
	b.create("web", nil)
	before := b.awaitReady("web")
	if err := b.agent.Kill("test", "web"); err != nil {
		t.Fatal(err)
	}
	after := b.await("web", "is restarted", func(p *corev1.Pod) bool { return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	if last := after.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 137 {
		t.Errorf("the last state is %+v, want exit code 137", last)
	}
	if before.Status.PodIP != after.Status.PodIP {
		t.Errorf("the address went from %s to %s", before.Status.PodIP, after.Status.PodIP)
	}
	if _, err := b.ask(after, http.MethodPost, "/exit?code=3"); err == nil {
		t.Error("it answered, and was to crash")
	}
	after = b.await("web", "is restarted again", func(p *corev1.Pod) bool { return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 2 })
	if last := after.Status.ContainerStatuses[0].LastTerminationState.Terminated; last == nil || last.ExitCode != 3 {
		t.Errorf("the last state is %+v, want exit code 3", last)
	}
}

func TestReadinessFollowsItsProbe(t *testing.T) {
	for name, handler := range map[string]corev1.ProbeHandler{
		"http": {HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("web")}},
		"tcp":  {TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.create("web", func(p *corev1.Pod) {
				p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}
				p.Spec.Containers[0].ReadinessProbe = &corev1.Probe{ProbeHandler: handler, PeriodSeconds: 1, FailureThreshold: 1}
			})
			p := b.awaitReady("web")
			if handler.HTTPGet == nil {
				return
			}
			if _, err := b.ask(p, http.MethodPost, "/ready?state=false"); err != nil {
				t.Fatal(err)
			}
			p = b.await("web", "stops being ready", func(p *corev1.Pod) bool { return !isReady(p) })
			if p.Status.ContainerStatuses[0].State.Running == nil {
				t.Error("it does not run")
			}
			if _, err := b.ask(p, http.MethodPost, "/ready?state=true"); err != nil {
				t.Fatal(err)
			}
			b.awaitReady("web")
		})
	}
}

func TestDeletedPodServesUntilItsHookIsOver(t *testing.T) {
	b := newBench(t)
	b.create("web", func(p *corev1.Pod) {
		p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}}
	})
	p := b.awaitReady("web")
	begun := time.Now()
	b.delete("web", 30)
	if got, err := b.ask(p, http.MethodGet, "/hostname"); got != "web" || err != nil {
		t.Errorf("while the hook runs it says %q, %v", got, err)
	}
	if !isReady(b.pod("web")) {
		t.Error("it is not ready while the hook runs")
	}
	b.await("web", "is deleted", nil)
	if took := time.Since(begun); took < time.Second {
		t.Errorf("it was deleted after %s, and its hook takes a second", took)
	}
	if _, err := b.agent.Namespace("test", "web"); err == nil {
		t.Error("it still has a network")
	}
}

func TestWhoDoesNotObeyIsKilledAfterTheGracePeriod(t *testing.T) {
	b := newBench(t)
	b.create("web", func(p *corev1.Pod) { p.Spec.Containers[0].Args = []string{"netexec", "--delay-shutdown=60"} })
	p := b.awaitReady("web")
	b.delete("web", 3)
	if got, err := b.ask(p, http.MethodGet, "/hostname"); got != "web" || err != nil {
		t.Errorf("after SIGTERM it says %q, %v", got, err)
	}
	b.await("web", "is deleted", nil) // 60 seconds would be longer than anybody waits here
}

func TestGracePeriodCanBeCutShort(t *testing.T) {
	b := newBench(t)
	b.create("web", func(p *corev1.Pod) { p.Spec.Containers[0].Args = []string{"--delay-shutdown=60"} })
	b.awaitReady("web")
	b.delete("web", 3600)
	b.delete("web", 1)
	b.await("web", "is deleted", nil)
}

func TestPodThatIsGoneIsKilledAtOnce(t *testing.T) {
	b := newBench(t)
	b.create("web", func(p *corev1.Pod) { p.Spec.Containers[0].Args = []string{"--delay-shutdown=60"} })
	p := b.awaitReady("web")
	if err := b.client.CoreV1().Pods("test").Delete(b.ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for len(b.agent.Pods()) > 0 {
		if b.ctx.Err() != nil {
			t.Fatal("it still runs")
		}
		time.Sleep(time.Millisecond)
	}
	if got, err := b.ask(p, http.MethodGet, "/hostname"); err == nil {
		t.Errorf("it still says %q", got)
	}
	// Another one of the same name is another pod.
	b.create("web", func(p *corev1.Pod) { p.UID = "another" })
	if again := b.awaitReady("web"); again.Status.PodIP == p.Status.PodIP {
		t.Errorf("the address %s was given again at once", p.Status.PodIP)
	}
}

func TestPodsAreStartedAgainAfterAReboot(t *testing.T) {
	b := newBench(t)
	b.create("web", nil)
	b.create("going", nil)
	b.awaitReady("web")
	b.awaitReady("going")
	b.halt()
	b.delete("going", 30)
	b.start()
	b.await("web", "is started again", func(p *corev1.Pod) bool { return isReady(p) && p.Status.ContainerStatuses[0].RestartCount == 1 })
	b.await("going", "is deleted", nil)
}

func TestPodThatIsDoneStaysDone(t *testing.T) {
	b := newBench(t)
	b.create("once", func(p *corev1.Pod) {
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		p.Spec.Containers[0].Image = "e2e.example/client"
		p.Spec.Containers[0].Args = []string{"--count", "1", "--timeout", "100ms", "127.0.0.1:1"}
	})
	b.await("once", "succeeds", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	b.halt()
	b.start()
	b.create("other", nil)
	b.awaitReady("other")
	if p := b.pod("once"); p.Status.Phase != corev1.PodSucceeded {
		t.Errorf("after a reboot it is %s", p.Status.Phase)
	}
	b.delete("once", 0)
	b.await("once", "is deleted", nil)
}

func TestWhatCannotRunSaysWhy(t *testing.T) {
	b := newBench(t)
	b.create("nobody", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "no.example/such:1" })
	b.await("nobody", "waits", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodPending && len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == "CreateContainerError"
	})
	b.delete("nobody", 30)
	b.await("nobody", "is deleted", nil)
}

func TestHostNetworkPodHasTheNodesAddress(t *testing.T) {
	b := newBench(t)
	b.create("host", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	p := b.awaitReady("host")
	if p.Status.PodIP != b.node.Addrs[0].String() {
		t.Errorf("its address is %s", p.Status.PodIP)
	}
	if got, err := b.ask(p, http.MethodGet, "/hostname"); got != "host" || err != nil {
		t.Errorf("it says %q, %v", got, err)
	}
	b.delete("host", 30)
	b.await("host", "is deleted", nil)
}
