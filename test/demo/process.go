package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// A process is a child that cannot outlive the demo: the kernel kills it when the demo dies, and its
// standard input ends.
type process struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed when it is gone; err is valid then
	err   error
}

// spawn starts cmd and gives each line of its standard output to onLine, from a goroutine of its own.
func spawn(name string, cmd *exec.Cmd, onLine func([]byte)) (*process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Setpgid = true // Ctrl-C is for the demo alone, which then ends the others in order
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if onLine != nil {
				onLine(lines.Bytes())
			}
		}
		p.err = cmd.Wait()
	}()
	return p, nil
}

// again prepares another start of this binary in the given role.
func again(role string, args ...string) *exec.Cmd {
	return exec.Command("/proc/self/exe", append([]string{role}, args...)...)
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// terminate asks the process to end and waits for it: a SIGTERM, and after the grace period a SIGKILL, which
// is an error. The process's own failure is returned too.
func (p *process) terminate(grace time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // already gone: then ended is closed
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		_ = p.cmd.Process.Kill()
		<-p.ended
		return fmt.Errorf("end %s: it did not obey SIGTERM within %s", p.name, grace)
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", p.name, p.err)
	}
	return nil
}

// kill ends the process at once.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}
