package agent

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/e2e/pods"
	"espalier/test/e2e/process"
)

// A container is one container of a pod, with all that has become of it. It belongs to the worker's goroutine.
type container struct {
	spec corev1.Container

	proc    *process.Process // nil: none was started, or it has ended
	id      int              // of the process among those that the container had; events name it
	began   metav1.Time      // of the process
	ready   bool
	waiting string // why there is no process
	message string // and in more words
	over    bool   // it ended, and is not started again

	ends      int                              // processes that have ended
	last      *corev1.ContainerStateTerminated // how the last one did
	unhealthy int                              // that ended before they were up for long, in a row
}

// event is what a process, a probe or a timer tells the worker.
type event struct {
	c    *container
	id   int // of the process that it is about
	kind eventKind
}

type eventKind uint8

const (
	saidReady eventKind = iota // the process serves, or its probe says so
	unready                    // the probe says that it does not
	ended
	backedOff // it is time to start it again
)

// healthyAfter is how long a process must be up so that its end is the first of its kind again.
const healthyAfter = 10 * time.Second

// minimumGrace is between SIGTERM and SIGKILL in any case.
const minimumGrace = 2 * time.Second

// maxBackoff bounds the pause between two starts.
const maxBackoff = 10 * time.Second

// start starts a container's process. A failure is in the container's status, and tried again.
func (w *worker) start(c *container) {
	c.waiting, c.message, c.over = "", "", false
	c.id++
	err := w.launch(c)
	if err == nil {
		return
	}
	w.agent.config.Log("%s: pod %s: container %s: %v", w.agent.name(), w.key, c.spec.Name, err)
	c.waiting, c.message = "CreateContainerError", err.Error()
	w.later(c)
}

func (w *worker) launch(c *container) error {
	if !pods.Known(c.spec.Image) {
		return fmt.Errorf("there is no image %s: package pods has the list", c.spec.Image)
	}
	if len(c.spec.Command) > 0 {
		return errors.New("command: an image has its own here, which args can follow")
	}
	services, err := w.agent.servicesOf(w.key.Namespace)
	if err != nil {
		return err
	}
	// The addresses are in nobody's copy of the status yet.
	seen := w.pod.DeepCopy()
	w.addresses(&seen.Status)
	env, err := environment(seen, &c.spec, services)
	if err != nil {
		return err
	}
	args := []string{pods.Role, c.spec.Image}
	vars := variables(env)
	for _, arg := range c.spec.Args {
		args = append(args, expand(arg, vars))
	}
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = env
	// It ends with the pod's namespace, and with us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	position := w.log.Position()
	proc, err := process.Start(w.key.String()+"/"+c.spec.Name, cmd, &w.log, w.ns.Do)
	if err != nil {
		return err
	}
	c.began, c.ready = metav1.Now(), false
	w.setProcess(c, proc)
	watching, stop := context.WithCancel(w.ctx)
	id := c.id
	w.helpers.Go(func() {
		<-proc.Ended()
		stop()
		w.send(event{c, id, ended})
	})
	if probe := c.spec.ReadinessProbe; probe != nil {
		w.helpers.Go(func() { w.probe(watching, c, id, probe) })
		return nil
	}
	w.helpers.Go(func() {
		if w.log.Await(watching, position, pods.Ready+"\n") == nil {
			w.send(event{c, id, saidReady})
		}
	})
	return nil
}

// later starts the container again after a pause, unless the pod ends before.
func (w *worker) later(c *container) {
	wait := min(w.agent.config.Backoff<<min(c.unhealthy, 10), maxBackoff)
	c.unhealthy++
	id := c.id
	w.helpers.Go(func() {
		pause(w.ctx, wait)
		w.send(event{c, id, backedOff})
	})
}

// ended notes how a process ended, and whether there will be another.
func (w *worker) ended(c *container) {
	code, signal := exit(c.proc)
	c.last = &corev1.ContainerStateTerminated{
		ExitCode: code, Signal: signal, Reason: "Completed", StartedAt: c.began, FinishedAt: metav1.Now(), ContainerID: w.containerID(c),
	}
	if code != 0 {
		c.last.Reason = "Error"
	}
	if time.Since(c.began.Time) > healthyAfter {
		c.unhealthy = 0
	}
	c.ends++
	c.ready = false
	w.setProcess(c, nil)
	policy := w.pod.Spec.RestartPolicy
	if w.grace != nil || policy == corev1.RestartPolicyNever || policy == corev1.RestartPolicyOnFailure && code == 0 {
		c.over = true
		return
	}
	w.agent.config.Log("%s: pod %s: container %s ended with code %d: it is started again", w.agent.name(), w.key, c.spec.Name, code)
	c.waiting, c.message = "CrashLoopBackOff", "the container ended and is started again after a pause"
	w.later(c)
}

// exit returns the exit code as container runtimes tell it, and the signal that ended the process; zero: none.
func exit(p *process.Process) (code, signal int32) {
	err := p.Err()
	var failed *exec.ExitError
	switch {
	case err == nil:
		return 0, 0
	case !errors.As(err, &failed):
		return 1, 0
	}
	if status, ok := failed.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int32(status.Signal()), int32(status.Signal())
	}
	return int32(failed.ExitCode()), 0
}

// terminate ends a process as the kubelet does: the preStop hook, SIGTERM, and SIGKILL when the grace period is over. Who
// has used that up by the hook gets two seconds more.
func terminate(ctx, grace context.Context, c corev1.Container, proc *process.Process) {
	if hooks := c.Lifecycle; hooks != nil && hooks.PreStop != nil && hooks.PreStop.Sleep != nil {
		hook := time.After(time.Duration(hooks.PreStop.Sleep.Seconds) * time.Second)
		select {
		case <-proc.Ended():
			return
		case <-ctx.Done(): // the plug is pulled, and everything is killed
			return
		case <-grace.Done():
		case <-hook:
		}
	}
	proc.Signal(unix.SIGTERM)
	least := time.After(minimumGrace)
	select {
	case <-proc.Ended():
		return
	case <-ctx.Done():
		return
	case <-grace.Done():
	}
	select {
	case <-proc.Ended():
		return
	case <-ctx.Done():
		return
	case <-least:
	}
	proc.Kill()
}
