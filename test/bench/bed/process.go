package bed

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Process is a program on the node.
type Process struct {
	// Started is when it was executed.
	Started time.Time

	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed when it ended
	err  error         // how, once done is closed
}

// Start executes a program on the node. It ends with Stop, or with this process.
func (b *Bed) Start(argv []string) (*Process, error) {
	b.started++
	log, err := os.Create(b.Log + fmt.Sprintf("-%d.log", b.started))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = b.environment()
	cmd.Stdout, cmd.Stderr = log, log
	// The thread that forks it lives as long as the bed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	err = b.node().Do(func() error {
		p.Started = time.Now()
		return cmd.Start()
	})
	if err != nil {
		_ = log.Close()
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Running returns an error that says how the process ended, if it did.
func (p *Process) Running() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%v); its last words:\n%s", filepath.Base(p.cmd.Path), p.ended(), p.lastWords())
	default:
		return nil
	}
}

func (p *Process) ended() string {
	if p.err == nil {
		return "exit status 0"
	}
	return p.err.Error()
}

// lastWords returns the last lines of the log.
func (p *Process) lastWords() string {
	text, err := os.ReadFile(p.log.Name())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}

// Log returns what the process has said so far.
func (p *Process) Log() (string, error) {
	text, err := os.ReadFile(p.log.Name())
	return string(text), err
}

// Stop asks the process to end, and after some patience makes it.
func (p *Process) Stop() {
	const patience = 10 * time.Second
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it ended
	select {
	case <-p.done:
	case <-time.After(patience):
	}
	// With its children, which would work on.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
	_ = p.log.Close()
}
