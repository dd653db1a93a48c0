package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"espalier/test/netns/lab"
)

// Stream is a client in a process of its own, whose results are collected.
type Stream struct {
	Name string

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process is gone; err is valid then
	err   error

	mu      sync.Mutex
	results []Result
	news    chan struct{} // closed, and replaced, when a result comes
}

// Start starts a client in a namespace. The binary of this process must play Role. The client ends with the namespace.
func Start(ns *lab.Namespace, name string, args ...string) (*Stream, error) {
	s := &Stream{Name: name, news: make(chan struct{}), ended: make(chan struct{})}
	s.cmd = exec.Command("/proc/self/exe", append([]string{Role}, args...)...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	s.cmd.Stderr = os.Stderr
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = ns.Do(s.cmd.Start)
	}
	if err != nil {
		return nil, fmt.Errorf("start client %s in %s: %w", name, ns.Name, err)
	}
	go func() {
		defer close(s.ended)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			s.add(lines.Bytes())
		}
		s.err = errors.Join(lines.Err(), s.cmd.Wait())
	}()
	return s, nil
}

func (s *Stream) add(line []byte) {
	var r Result
	if err := json.Unmarshal(line, &r); err != nil {
		r = Result{At: time.Now(), Err: fmt.Sprintf("unreadable result %q: %v", line, err)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.results = append(s.results, r)
	close(s.news)
	s.news = make(chan struct{})
}

// Count returns how many results there are, as the n for a later Since.
func (s *Stream) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.results)
}

// Since returns the results from number n on.
func (s *Stream) Since(n int) []Result {
	results, _ := s.since(n)
	return results
}

func (s *Stream) since(n int) ([]Result, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.results[n:len(s.results):len(s.results)], s.news
}

// Await returns the first result from number n on that is as wished.
func (s *Stream) Await(ctx context.Context, n int, what string, wished func(Result) bool) (Result, error) {
	for {
		results, news := s.since(n)
		for _, r := range results {
			if wished(r) {
				return r, nil
			}
		}
		n += len(results)
		select {
		case <-news:
		case <-s.ended:
			return Result{}, fmt.Errorf("client %s: wait for %s: it ended: %w", s.Name, what, s.err)
		case <-ctx.Done():
			return Result{}, fmt.Errorf("client %s: wait for %s: %w", s.Name, what, context.Cause(ctx))
		}
	}
}

// Flow waits until some more requests were begun, from now on, and are over.
func (s *Stream) Flow(ctx context.Context, requests int) error {
	now, n := time.Now(), s.Count()
	left := requests
	for left > 0 {
		results, news := s.since(n)
		n += len(results)
		for _, r := range results {
			if !r.At.Before(now) {
				left--
			}
		}
		if left <= 0 {
			return nil
		}
		select {
		case <-news:
		case <-s.ended:
			return fmt.Errorf("client %s: %d of %d requests: it ended: %w", s.Name, requests-left, requests, s.err)
		case <-ctx.Done():
			return fmt.Errorf("client %s: %d of %d requests: %w", s.Name, requests-left, requests, context.Cause(ctx))
		}
	}
	return nil
}

// Wait waits until the client ends by itself, after the number of requests that it was told, and returns all results.
func (s *Stream) Wait(ctx context.Context) ([]Result, error) {
	select {
	case <-s.ended:
		return s.Since(0), s.err
	case <-ctx.Done():
		s.Kill()
		return s.Since(0), fmt.Errorf("client %s: %w", s.Name, context.Cause(ctx))
	}
}

// Stop sends no more requests, waits for those under way, and returns all results.
func (s *Stream) Stop() ([]Result, error) {
	_ = s.cmd.Process.Signal(unix.SIGTERM) // it has ended already: then ended is closed
	select {
	case <-s.ended:
		return s.Since(0), s.err
	case <-time.After(time.Minute):
		s.Kill()
		return s.Since(0), fmt.Errorf("client %s does not end: it was killed", s.Name)
	}
}

// Kill ends the client at once.
func (s *Stream) Kill() {
	_ = s.cmd.Process.Kill() // it has ended already
	<-s.ended
}
