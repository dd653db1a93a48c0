package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// CommandError is a command that ended with an error, other than a refusal of restore input.
type CommandError struct {
	Command string // with its arguments
	Exit    int    // -1 if it did not end by itself
	Stderr  string
	Err     error
}

func (e *CommandError) Error() string {
	text := e.Command + ": "
	if reason := firstLine(e.Stderr); reason != "" {
		text += reason
	} else {
		text += e.Err.Error()
	}
	return text + hint(e.Stderr)
}

func (e *CommandError) Unwrap() error { return e.Err }

// process is a command whose standard input is written to it. It starts with the first byte, so that an input
// that turns out to be empty, or not to be writable, starts nothing.
type process struct {
	ctx    context.Context
	path   string
	args   []string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr head
}

func (p *process) Write(b []byte) (int, error) {
	if p.cmd == nil {
		if err := p.start(); err != nil {
			return 0, err
		}
	}
	return p.stdin.Write(b)
}

func (p *process) start() error {
	cmd := command(p.ctx, p.path, p.args)
	cmd.Stderr = &p.stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.path, err)
	}
	p.cmd, p.stdin = cmd, stdin
	return nil
}

// wait closes the standard input and waits for the end. A command that was never started did well.
func (p *process) wait() error {
	if p.cmd == nil {
		return nil
	}
	_ = p.stdin.Close() // it may be gone already
	return commandError(p.cmd.Wait(), p.path, p.args, p.stderr.String())
}

// read runs a command and gives its output to out while it runs. The error of out counts if the command itself
// did well.
func read(ctx context.Context, path string, args []string, out func(io.Reader) error) error {
	cmd := command(ctx, path, args)
	var stderr head
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	outErr := out(stdout)
	_, _ = io.Copy(io.Discard, stdout) // out may have stopped early
	if err := commandError(cmd.Wait(), path, args, stderr.String()); err != nil {
		return err
	}
	return outErr
}

func command(ctx context.Context, path string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func commandError(err error, path string, args []string, stderr string) error {
	if err == nil {
		return nil
	}
	e := &CommandError{
		Command: strings.Join(append([]string{filepath.Base(path)}, args...), " "),
		Exit:    -1, Stderr: stderr, Err: err,
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		e.Exit = exit.ExitCode()
	}
	return e
}

// head keeps the first bytes that are written to it: there the reason stands.
type head struct{ bytes.Buffer }

func (h *head) Write(b []byte) (int, error) {
	const most = 16 << 10
	_, err := h.Buffer.Write(b[:max(0, min(len(b), most-h.Len()))])
	return len(b), err
}

// brokenPipe reports whether a command ended before it had read all of its input. Why is in its own words.
func brokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) }
