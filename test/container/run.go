package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Run turns this process into the program of a container. It returns the exit code, only if that cannot be.
func Run(args []string) int {
	runtime.LockOSThread() // capabilities belong to a thread, and exec keeps those of its caller
	var s Spec
	err := json.Unmarshal([]byte(args[0]), &s)
	if err == nil {
		err = s.enter()
	}
	if err == nil {
		err = s.confine()
	}
	if err == nil {
		err = unix.Exec(s.Argv[0], s.Argv, s.Env)
	}
	fmt.Fprintf(os.Stderr, "container: start %q: %v\n", s.Argv, err)
	return 125 // as docker run
}

// confine gives up what the program may not do.
func (s Spec) confine() error {
	if s.Nice != 0 { // not even the own priority may be set again everywhere
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, s.Nice); err != nil {
			return fmt.Errorf("set the priority: %w", err)
		}
	}
	err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(s.OOMScoreAdjust)), 0)
	if err != nil && !errors.Is(err, os.ErrPermission) { // root may lack CAP_SYS_RESOURCE, where it is in a container itself
		return err
	}
	if s.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("allow no privilege escalation: %w", err)
		}
	}
	if s.Privileged {
		return nil
	}
	var granted []uintptr
	for _, c := range s.Capabilities {
		granted = append(granted, numbers[c])
	}
	// By exec, root gets what is in the bounding set, and no more.
	for number := uintptr(0); number <= unix.CAP_LAST_CAP; number++ {
		if slices.Contains(granted, number) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, number, 0, 0, 0); err != nil {
			return fmt.Errorf("give up capability %d: %w", number, err)
		}
	}
	return nil
}
