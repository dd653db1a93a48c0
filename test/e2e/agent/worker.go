package agent

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"espalier/test/e2e/process"
	"espalier/test/e2e/wire"
	"espalier/test/netns/lab"
)

// A worker takes care of one pod from the moment when it is bound to the node until nothing of it is left.
type worker struct {
	agent   *Agent
	key     types.NamespacedName
	ctx     context.Context // ends with the agent, or when the API server does not have the pod any more
	leave   context.CancelFunc
	updates chan *corev1.Pod // the pod as it is now; of several, the last
	events  chan event
	done    chan struct{}    // closed when nobody reads events any more
	reports chan *corev1.Pod // the pod with the status that it should have; of several, the last
	helpers sync.WaitGroup   // everything that run has started
	log     process.Log      // of all containers

	// These belong to the goroutine of run.
	pod        *corev1.Pod
	containers []*container
	network    *wire.Pod             // nil: the node's
	probed     string                // the address at which probes ask; does not change
	began      metav1.Time           // when the node took the pod
	conditions []corev1.PodCondition // those that are ours
	grace      context.Context       // ends with the grace period; nil: the pod was not deleted
	endGrace   context.CancelFunc
	graceTimer *time.Timer

	mu    sync.Mutex
	ns    *lab.Namespace                  // nil: none yet, or no more
	procs map[*container]*process.Process // that run
}

func newWorker(ctx context.Context, a *Agent, p *corev1.Pod) *worker {
	w := &worker{
		agent: a, key: keyOf(p), began: metav1.Now(),
		updates: make(chan *corev1.Pod, 1), events: make(chan event), done: make(chan struct{}), reports: make(chan *corev1.Pod, 1),
		procs: map[*container]*process.Process{},
	}
	w.ctx, w.leave = context.WithCancel(ctx)
	return w
}

// tell says how the pod is now. It does not wait. Calls must not overlap.
func (w *worker) tell(p *corev1.Pod) { latest(w.updates, p) }

// latest puts a value into a channel with room for one, in the place of one that nobody took.
func latest(into chan *corev1.Pod, p *corev1.Pod) {
	select {
	case <-into:
	default:
	}
	into <- p
}

func (w *worker) send(e event) {
	select {
	case w.events <- e:
	case <-w.done:
	}
}

func (w *worker) run() {
	defer w.cleanUp()
	w.pod = <-w.updates
	for phase := w.pod.Status.Phase; w.pod.DeletionTimestamp == nil && (phase == corev1.PodSucceeded || phase == corev1.PodFailed); {
		if !w.await() { // it had its time, before the node was started again
			return
		}
	}
	if w.pod.DeletionTimestamp != nil { // nothing of it runs here, or any more
		w.remove()
		return
	}
	if !w.connect() {
		return
	}
	var where corev1.PodStatus
	w.addresses(&where)
	w.probed = where.PodIP
	writing, stop := context.WithCancel(w.ctx)
	defer stop()
	written := make(chan struct{})
	w.helpers.Go(func() {
		defer close(written)
		w.writeReports(writing)
	})
	w.begin()
	for {
		w.report()
		if w.grace != nil && w.isOver() {
			stop()
			<-written
			w.finish()
			return
		}
		if !w.await() {
			return
		}
	}
}

// await waits until something happens, and takes note of it. It returns false if the worker is to leave.
func (w *worker) await() bool {
	select {
	case <-w.ctx.Done():
		return false
	case p := <-w.updates:
		w.pod = p
		if p.DeletionTimestamp != nil {
			w.delete()
		}
	case e := <-w.events:
		w.handle(e)
	}
	return true
}

func (w *worker) handle(e event) {
	c := e.c
	if e.id != c.id {
		return // about a process that is gone
	}
	switch e.kind {
	case saidReady, unready:
		c.ready = e.kind == saidReady && c.proc != nil
	case ended:
		w.ended(c)
	case backedOff:
		if w.grace == nil {
			w.start(c)
		}
	}
}

// connect makes the pod's network, and tries until it can.
func (w *worker) connect() bool {
	node := w.agent.config.Node
	if w.pod.Spec.HostNetwork {
		w.setNamespace(node.Namespace)
		return true
	}
	for w.ctx.Err() == nil {
		network, err := node.AddPod(w.key.String())
		if err == nil {
			w.network = network
			w.setNamespace(network.Namespace)
			return true
		}
		w.agent.config.Log("%s: pod %s: %v", w.agent.name(), w.key, err)
		pause(w.ctx, retryAfter)
	}
	return false
}

// begin starts all containers. Those that ran before the node was rebooted were restarted by that.
func (w *worker) begin() {
	for _, spec := range w.pod.Spec.Containers {
		c := &container{spec: spec}
		for _, s := range w.pod.Status.ContainerStatuses {
			if s.Name == spec.Name && s.ContainerID != "" {
				c.ends = int(s.RestartCount) + 1
			}
		}
		w.containers = append(w.containers, c)
		if len(w.pod.Spec.InitContainers) > 0 {
			c.waiting, c.message = "InitContainersNotSupported", "this node has no init containers"
			continue
		}
		w.start(c)
	}
}

// delete begins to end the pod, or cuts the grace period short.
func (w *worker) delete() {
	grace := time.Duration(0)
	if seconds := w.pod.DeletionGracePeriodSeconds; seconds != nil {
		grace = time.Duration(*seconds) * time.Second
	}
	// DeletionTimestamp is when the grace period is over, and was rounded to a second.
	if w.grace != nil {
		if w.graceTimer.Reset(min(grace, time.Until(w.pod.DeletionTimestamp.Time)+time.Second)) {
			return
		}
		w.endGrace() // it was over
		return
	}
	w.grace, w.endGrace = context.WithCancel(w.ctx)
	w.graceTimer = time.AfterFunc(grace, w.endGrace)
	for _, c := range w.containers {
		if c.proc == nil {
			c.over = true
			continue
		}
		proc, spec, grace := c.proc, c.spec, w.grace
		w.helpers.Go(func() { terminate(w.ctx, grace, spec, proc) })
	}
}

func (w *worker) isOver() bool {
	return !slices.ContainsFunc(w.containers, func(c *container) bool { return !c.over })
}

// finish reports how it ended, gives up the network, and then the pod itself.
func (w *worker) finish() {
	final := w.pod.DeepCopy()
	final.Status = w.status()
	w.write(w.ctx, final, func() bool { return false })
	w.disconnect()
	w.remove()
}

// cleanUp leaves nothing, whatever happened before.
func (w *worker) cleanUp() {
	w.leave()
	close(w.done)
	for _, c := range w.containers {
		if c.proc != nil {
			c.proc.Kill()
		}
	}
	if w.graceTimer != nil {
		w.graceTimer.Stop()
		w.endGrace()
	}
	w.helpers.Wait()
	w.disconnect()
}

func (w *worker) disconnect() {
	w.setNamespace(nil)
	if w.network != nil {
		w.network.Close()
		w.network = nil
	}
}

func (w *worker) setNamespace(ns *lab.Namespace) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ns = ns
}

// namespace returns the pod's, for others.
func (w *worker) namespace() (*lab.Namespace, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ns == nil {
		return nil, fmt.Errorf("pod %s has no network: %w", w.key, ErrNoPod)
	}
	return w.ns, nil
}

func (w *worker) setProcess(c *container, proc *process.Process) {
	c.proc = proc
	w.mu.Lock()
	defer w.mu.Unlock()
	if proc == nil {
		delete(w.procs, c)
	} else {
		w.procs[c] = proc
	}
}

// crash ends all processes, for others.
func (w *worker) crash() error {
	w.mu.Lock()
	var procs []*process.Process
	for _, proc := range w.procs {
		procs = append(procs, proc)
	}
	w.mu.Unlock()
	if len(procs) == 0 {
		return fmt.Errorf("pod %s has no process: %w", w.key, ErrNoPod)
	}
	for _, proc := range procs {
		proc.Kill()
	}
	return nil
}
