package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"espalier/test/e2e/process"
)

// supervise runs the containers until ctx ends.
func (p *Proxy) supervise(ctx context.Context, w *Workload, stopped chan struct{}) {
	defer close(stopped)
	pod := w.pod()
	for _, c := range pod.InitContainers {
		for ctx.Err() == nil {
			if exit := p.once(ctx, w, c); exit.Code == 0 {
				break
			}
			takeBreath(ctx)
		}
	}
	for ends := 0; ctx.Err() == nil; ends++ {
		if ends > 1 {
			takeBreath(ctx)
		}
		exit := p.once(ctx, w, pod.Containers[0])
		p.mu.Lock()
		p.exits = append(p.exits, exit)
		p.tell()
		p.mu.Unlock()
	}
}

func takeBreath(ctx context.Context) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// once runs a container to its end.
func (p *Proxy) once(ctx context.Context, w *Workload, c corev1.Container) Exit {
	started, err := p.start(w, c)
	if err != nil {
		fmt.Fprintf(&p.Log, "e2e: start container %s on %s: %v\n", c.Name, p.node.Name, err)
		return Exit{Code: 125}
	}
	p.set(started)
	defer p.set(nil)
	probing, done := context.WithCancel(ctx)
	defer done()
	go p.watchOver(probing, c, started)
	select {
	case <-started.Ended():
		return Exit{Code: started.ExitCode()}
	case <-ctx.Done():
	}
	if err := started.Stop(w.grace()); err != nil {
		fmt.Fprintf(&p.Log, "e2e: %v\n", err)
	}
	return Exit{Code: started.ExitCode(), Bid: true}
}

func (p *Proxy) start(w *Workload, c corev1.Container) (*process.Process, error) {
	spec, err := p.spec(w, c)
	if err != nil {
		return nil, err
	}
	cmd, err := spec.Command()
	if err != nil {
		return nil, err
	}
	return process.Start(c.Name+" of "+p.node.Name, cmd, &p.Log, p.node.Do)
}

func (p *Proxy) set(running *process.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = running
	p.tell()
}

// tell wakes up who waits for a change.
func (p *Proxy) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// grace is how long a container may take to obey SIGTERM.
func (w *Workload) grace() time.Duration {
	seconds := w.pod().TerminationGracePeriodSeconds
	if seconds == nil {
		return 30 * time.Second
	}
	return time.Duration(*seconds) * time.Second
}
