package bed

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Usage is what a process has cost since it started.
type Usage struct {
	CPU     time.Duration // user and system, of itself and of the children that ended
	Written int64         // bytes passed to write(2) by itself: the input of its children, mostly
}

// Sub returns what was used after an earlier look.
func (u Usage) Sub(earlier Usage) Usage {
	return Usage{CPU: u.CPU - earlier.CPU, Written: u.Written - earlier.Written}
}

// Usage looks at the process. Of one that ended, it is zero.
func (p *Process) Usage() Usage {
	var u Usage
	if text, err := os.ReadFile(p.proc("stat")); err == nil {
		u.CPU = cpuTime(text)
	}
	if text, err := os.ReadFile(p.proc("io")); err == nil {
		u.Written = field(text, "wchar:")
	}
	return u
}

func (p *Process) proc(name string) string {
	return fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name)
}

// cpuTime adds the fields 14 to 17 of /proc/PID/stat: utime, stime, cutime, cstime; see proc_pid_stat(5).
func cpuTime(stat []byte) time.Duration {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on all architectures that Go runs on
	_, rest, ok := bytes.Cut(stat, []byte(") "))
	if end := bytes.LastIndex(stat, []byte(") ")); ok && end >= 0 {
		rest = stat[end+2:] // the name of a program can have parentheses
	}
	words := bytes.Fields(rest)
	if len(words) < 15 {
		return 0
	}
	var ticks int64
	for _, w := range words[11:15] {
		n, err := strconv.ParseInt(string(w), 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * tick
}

// field returns the number after a word at the beginning of a line.
func field(text []byte, name string) int64 {
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			words := strings.Fields(rest)
			if len(words) > 0 {
				n, _ := strconv.ParseInt(words[0], 10, 64) // the kernel writes numbers
				return n
			}
		}
	}
	return 0
}

// Memory is what processes had resident, in bytes.
type Memory struct {
	Now   int64 // the process alone
	Peak  int64 // the process alone, at its worst
	Total int64 // the process and all its descendants together, at their worst
}

// Meter watches the memory of a process.
type Meter struct {
	p    *Process
	stop chan struct{}
	done sync.WaitGroup
	mu   sync.Mutex
	most int64
}

// Watch looks at the memory of a process and its descendants every 20 ms. A child that lives shorter may not be seen.
func (p *Process) Watch() *Meter {
	m := &Meter{p: p, stop: make(chan struct{})}
	m.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			total := resident(p.cmd.Process.Pid)
			for _, child := range descendants(p.cmd.Process.Pid, nil) {
				total += resident(child)
			}
			m.mu.Lock()
			m.most = max(m.most, total)
			m.mu.Unlock()
			select {
			case <-tick.C:
			case <-m.stop:
				return
			}
		}
	})
	return m
}

// Memory returns what was seen so far.
func (m *Meter) Memory() Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	memory := Memory{Now: resident(m.p.cmd.Process.Pid), Total: m.most}
	if text, err := os.ReadFile(m.p.proc("status")); err == nil {
		memory.Peak = field(text, "VmHWM:") << 10
	}
	memory.Total = max(memory.Total, memory.Peak)
	return memory
}

// Stop ends the watch.
func (m *Meter) Stop() {
	close(m.stop)
	m.done.Wait()
}

// resident returns the resident memory of a process: the second field of /proc/PID/statm, in pages.
func resident(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0 // it ended
	}
	words := bytes.Fields(text)
	if len(words) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(words[1]), 10, 64) // the kernel writes numbers
	return pages * int64(os.Getpagesize())
}

// descendants adds the children of a process, which each of its threads can have, and theirs.
func descendants(pid int, to []int) []int {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return to
	}
	for _, t := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, t.Name()))
		if err != nil {
			continue
		}
		for _, w := range bytes.Fields(text) {
			if child, err := strconv.Atoi(string(w)); err == nil {
				to = descendants(child, append(to, child))
			}
		}
	}
	return to
}
