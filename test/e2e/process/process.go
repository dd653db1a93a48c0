package process

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a program that was started.
type Process struct {
	Name string
	Log  *Log // what it prints, on both streams

	cmd   *exec.Cmd
	ended chan struct{} // closed when it is gone; err is valid then
	err   error
}

// Start starts cmd by start, which is cmd.Start if it is nil, or a function that calls it in a network namespace.
func Start(name string, cmd *exec.Cmd, log *Log, start func(func() error) error) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // Ctrl-C is for the tests alone
	cmd.Stdout, cmd.Stderr = log, log
	// A child of the program that outlives it may hold the streams.
	cmd.WaitDelay = time.Second
	if start == nil {
		start = func(f func() error) error { return f() }
	}
	if err := start(cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, Log: log, cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// PID returns the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err returns why the process ended, nil for status 0, and waits for that.
func (p *Process) Err() error {
	<-p.ended
	return p.err
}

// ExitCode returns the status of the process, -1 if a signal ended it, and waits for that.
func (p *Process) ExitCode() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends a signal; to a process that has ended, nothing.
func (p *Process) Signal(s os.Signal) { _ = p.cmd.Process.Signal(s) }

// Kill ends the process at once, and waits until it is gone.
func (p *Process) Kill() {
	p.Signal(unix.SIGKILL)
	<-p.ended
}

// Stop asks the process to end by SIGTERM and waits for that; after the grace period it is killed, which is an error.
func (p *Process) Stop(grace time.Duration) error {
	p.Signal(unix.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(grace):
		p.Kill()
		return fmt.Errorf("stop %s: it did not obey SIGTERM within %s", p.Name, grace)
	}
}
