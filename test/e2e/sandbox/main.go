package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Role is what this binary does instead of running tests, if the first argument is the role's name: it is told
// the other arguments, and returns the exit code.
type Role func(args []string) int

// inside is the first argument of the inner process.
const inside = "inside-the-sandbox"

// Main runs tests in namespaces of their own, or the role that this process was started for, and returns the exit
// code.
func Main(tests func() int, roles map[string]Role) int {
	if len(os.Args) > 1 {
		if role, ok := roles[os.Args[1]]; ok {
			return role(os.Args[2:])
		}
		if os.Args[1] == inside {
			os.Args = append(os.Args[:1], os.Args[2:]...)
			return enter(tests)
		}
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		return 1
	}
	return code
}

// Again prepares another start of this binary, in a role.
func Again(role string, args ...string) *exec.Cmd {
	return exec.Command("/proc/self/exe", append([]string{role}, args...)...)
}

// outside starts the inner process and waits for it.
func outside() (int, error) {
	if os.Geteuid() != 0 {
		return 0, fmt.Errorf("make namespaces: this takes root (make e2e uses sudo)")
	}
	caller, err := unix.PidfdOpen(os.Getppid(), 0) // before anything is started, so that its end is never missed
	if err != nil {
		return 0, fmt.Errorf("watch the process that started the tests: %w", err)
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)

	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{os.Args[0]}, append([]string{inside}, os.Args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL,
		Setpgid:    true, // Ctrl-C arrives here, and is passed on once
	}
	runtime.LockOSThread() // the signal of parent's death comes when the thread ends that started the child
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start the tests in namespaces of their own: %w", err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it has ended already
		}
	}()
	go func() {
		awaitEnd(caller)
		_ = cmd.Process.Kill() // it has ended already
	}()
	_ = cmd.Wait() // what it says is in the state
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}

// awaitEnd returns when the process behind the file descriptor has ended.
func awaitEnd(pidfd int) {
	for {
		fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, -1); err == nil && n > 0 {
			return
		}
	}
}
