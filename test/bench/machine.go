package bench

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"espalier/test/bench/report"
)

// machine describes where this is running. What cannot be found out is empty.
func machine(c Config) report.Machine {
	m := report.Machine{CPU: "CPU", CPUs: runtime.NumCPU(), Version: c.Version}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if name := after(string(text), "model name", ":"); name != "" {
			m.CPU = name
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(after(string(text), "MemTotal", ":"), " kB"), 10, 64)
		m.Memory = kilobytes << 10
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	for _, b := range c.Backends {
		if text, err := exec.Command("iptables-"+b, "--version").Output(); err == nil {
			m.Iptables, _, _ = strings.Cut(strings.TrimSpace(string(text)), " (")
		}
	}
	return m
}

// after returns what stands behind a name and a separator in the first line that begins with the name.
func after(text, name, separator string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name) {
			_, value, _ := strings.Cut(line, separator)
			return strings.TrimSpace(value)
		}
	}
	return ""
}
