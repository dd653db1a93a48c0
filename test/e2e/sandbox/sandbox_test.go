package sandbox_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"espalier/test/e2e/sandbox"
	"espalier/test/netns/lab"
)

// busy, in the environment, makes the inner process start what could be left behind, say so, and wait.
const busy = "E2E_SANDBOX_BUSY"

func TestMain(m *testing.M) {
	tests := m.Run
	if os.Getenv(busy) != "" {
		tests = beBusy
	}
	os.Exit(sandbox.Main(tests, map[string]sandbox.Role{
		"sleep": func([]string) int { fmt.Println("up"); time.Sleep(time.Hour); return 0 },
		"go":    beGo,
	}))
}

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// beBusy starts a process in another session and a network namespace of its own, and writes a file.
func beBusy() int {
	ns, err := lab.NewNamespace("left behind?")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	cmd := sandbox.Again("sleep")
	cmd.Stdout = os.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := ns.Do(cmd.Start); err != nil {
		fmt.Println(err)
		return 1
	}
	if err := os.WriteFile(filepath.Join(os.TempDir(), "left-behind"), nil, 0o644); err != nil {
		fmt.Println(err)
		return 1
	}
	select {}
}

// beGo is to the tests what "go test" is: it starts them, and waits.
func beGo([]string) int {
	cmd := exec.Command("/proc/self/exe")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	_ = cmd.Run()
	return 0
}

func TestNothingOutlivesTheTests(t *testing.T) {
	for _, end := range []struct {
		how    string
		signal unix.Signal
		to     func(run, tests int) int
	}{
		{"Ctrl-C", unix.SIGINT, func(run, _ int) int { return -run }},
		{"go test is killed", unix.SIGKILL, func(run, _ int) int { return run }},
		{"the test binary is killed", unix.SIGKILL, func(_, tests int) int { return tests }},
		{"the test binary is asked to end", unix.SIGTERM, func(_, tests int) int { return tests }},
	} {
		t.Run(end.how, func(t *testing.T) {
			before := machine(t)
			run, inherited := start(t)
			during := machine(t)
			if len(during.namespaces) <= len(before.namespaces) || len(during.processes) < len(before.processes)+4 {
				t.Fatalf("before %v, while something runs %v", before, during)
			}
			if err := unix.Kill(end.to(run.Process.Pid, child(t, run.Process.Pid)), end.signal); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, inherited); err != nil {
				t.Fatalf("wait for the end of all that have inherited the stream: %v", err)
			}
			_ = run.Wait() // "go test" may have been killed
			await(t, func() bool { return machine(t).String() == before.String() })
			if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "left-behind")); left != nil {
				t.Errorf("a file was left behind: %s", left)
			}
		})
	}
}

// start starts what is busy in a sandbox, and returns when it is. The stream ends when everything has ended that it
// started.
func start(t *testing.T) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := sandbox.Again("go")
	cmd.Env = append(os.Environ(), busy+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := out.(*os.File).SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "up\n" {
		t.Fatalf("it said %q (%v) and %s", line, err, errs.String())
	}
	return cmd, lines
}

// seen is what can be seen of processes: their numbers, and their network namespaces.
type seen struct{ processes, namespaces map[string]bool }

func (s seen) String() string { return fmt.Sprint(s.processes, s.namespaces) }

func machine(t *testing.T) seen {
	t.Helper()
	all := seen{map[string]bool{}, map[string]bool{}}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if stat, err := os.ReadFile(dir + "/stat"); err != nil || bytes.Contains(stat, []byte(") Z ")) {
			continue // it has ended
		}
		all.processes[filepath.Base(dir)] = true
		threads, _ := filepath.Glob(dir + "/task/*/ns/net")
		for _, thread := range threads {
			if ns, err := os.Readlink(thread); err == nil {
				all.namespaces[ns] = true
			}
		}
	}
	return all
}

// child returns the one child of a process.
func child(t *testing.T, of int) (pid int) {
	t.Helper()
	await(t, func() bool {
		text, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", of))
		for _, file := range text {
			children, _ := os.ReadFile(file)
			if fields := strings.Fields(string(children)); len(fields) > 0 {
				pid, _ = strconv.Atoi(fields[0])
			}
		}
		return pid != 0
	})
	return pid
}

func await(t *testing.T, true func() bool) {
	t.Helper()
	for begun := time.Now(); !true(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > patience {
			t.Fatalf("it does not become so within %s", patience)
		}
	}
}
