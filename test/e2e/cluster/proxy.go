package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"espalier/test/e2e/process"
)

// Proxy is the proxy under test on one node: the DaemonSet's pod there, run as the kubelet runs it, but without asking the
// API server, so that it is also there when that is away. Its init containers run first; when its container ends, it is
// started again, at once the first time, and then after a pause; when its livenessProbe fails, it is killed.
type Proxy struct {
	Log process.Log // of all its containers, one after the other
	// Nice is how much containers that are started from now on stand back where processors are short.
	Nice int

	cluster *Cluster
	node    *Node

	mu       sync.Mutex
	workload *Workload // of the next start
	running  *process.Process
	exits    []Exit
	changed  chan struct{} // closed when one of the above changes
	stop     context.CancelFunc
	stopped  chan struct{} // closed when nothing runs any more
}

// Exit is one end of the container.
type Exit struct {
	Code int  // -1: by a signal
	Bid  bool // by Stop
}

// pause before the container is started again, if it has ended before. (The kubelet begins with ten seconds.)
const pause = time.Second

// dir returns a folder for files of this pod.
func (p *Proxy) dir(name ...string) string {
	return filepath.Join(append([]string{p.node.dir, "proxy"}, name...)...)
}

// Replace replaces the pod by one of another workload, and returns when that has written all rules.
func (p *Proxy) Replace(ctx context.Context, w *Workload) error {
	p.Stop()
	p.mu.Lock()
	p.workload = w
	p.mu.Unlock()
	return p.startAndAwait(ctx)
}

// Restart replaces the pod by one like it, as "kubectl rollout restart" does, and returns when that has written all rules.
func (p *Proxy) Restart(ctx context.Context) error {
	p.Stop()
	return p.startAndAwait(ctx)
}

func (p *Proxy) startAndAwait(ctx context.Context) error {
	if err := p.Start(ctx); err != nil {
		return err
	}
	return p.AwaitSync(ctx)
}

// Start starts the pod. The API server may be away, if a pod of the workload ran here before.
func (p *Proxy) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		return fmt.Errorf("start the proxy of %s: it runs", p.node.Name)
	}
	if err := p.prepare(ctx, p.workload); err != nil {
		return fmt.Errorf("prepare the proxy of %s: %w", p.node.Name, err)
	}
	ctx, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	p.stopped = make(chan struct{})
	go p.supervise(ctx, p.workload, p.stopped)
	return nil
}

// prepare writes what is mounted into the containers.
func (p *Proxy) prepare(ctx context.Context, w *Workload) error {
	if err := os.MkdirAll(p.dir("root"), 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(p.dir(w.Daemon.Name)); err == nil {
		return nil
	}
	if err := writeFolder(p.dir(w.Daemon.Name, "config"), w.Config.Data); err != nil {
		return err
	}
	if w.Wrapped {
		if err := writeWrappers(p.dir("wrappers"), p.cluster.Config.Backend); err != nil {
			return err
		}
	}
	return p.cluster.writeAccount(ctx, w, p.dir(w.Daemon.Name, "account"))
}

// writeWrappers lets the names of the iptables tools lead to those of a backend.
func writeWrappers(dir, backend string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, tool := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			path, err := exec.LookPath(tool + "-" + backend + suffix)
			if err != nil {
				return err
			}
			if err := os.Symlink(path, filepath.Join(dir, tool+suffix)); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
	}
	return nil
}

// Stop deletes the pod: SIGTERM, then after its grace period SIGKILL.
func (p *Proxy) Stop() {
	p.mu.Lock()
	stop, stopped := p.stop, p.stopped
	p.stop = nil
	p.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	<-stopped
}

// PowerOff ends the pod as a power failure does. Nothing starts it again but Start.
func (p *Proxy) PowerOff() {
	p.mu.Lock()
	stop, stopped, running := p.stop, p.stopped, p.running
	p.stop = nil
	p.mu.Unlock()
	if stop == nil {
		return
	}
	if running != nil {
		running.Signal(unix.SIGKILL)
	}
	stop()
	<-stopped
}

// Running reports whether there is a pod.
func (p *Proxy) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stop != nil
}

// Kill ends the container by SIGKILL, and with it the children that it has. It is started again.
func (p *Proxy) Kill() {
	p.mu.Lock()
	running := p.running
	p.mu.Unlock()
	if running != nil {
		running.Kill()
	}
}

// PID returns the process of the container, 0 if there is none.
func (p *Proxy) PID() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return 0
	}
	return p.running.PID()
}

// Exits returns how the container has ended until now.
func (p *Proxy) Exits() []Exit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Exit(nil), p.exits...)
}

// AwaitExit waits until the container has ended more than a number of times, and returns the last end.
func (p *Proxy) AwaitExit(ctx context.Context, after int) (Exit, error) {
	for {
		p.mu.Lock()
		exits, changed := p.exits, p.changed
		p.mu.Unlock()
		if len(exits) > after {
			return exits[len(exits)-1], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Exit{}, fmt.Errorf("wait for the end of the proxy of %s: %w", p.node.Name, context.Cause(ctx))
		}
	}
}
