package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// spec is how a process is put into a container. The parent passes it in the environment, and the process makes the rest
// of the container of itself: container runtimes do the same.
type spec struct {
	Root       string
	Mounts     map[string]string // file or folder inside: outside
	Privileged bool
	// Capabilities by their names; without meaning for a privileged one.
	Capabilities []string
	Argv         []string
}

// numbers are those of the capabilities that may be granted.
var numbers = map[string]uintptr{"CAP_NET_ADMIN": unix.CAP_NET_ADMIN, "CAP_NET_RAW": unix.CAP_NET_RAW, "CAP_SYS_RESOURCE": unix.CAP_SYS_RESOURCE}

// enter does not come back, if all is well. The process has a mount and a PID namespace of its own already.
func (s spec) enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := s.mounts(); err != nil {
		return err
	}
	if err := errors.Join(unix.Chroot(s.Root), unix.Chdir("/")); err != nil {
		return fmt.Errorf("enter %s: %w", s.Root, err)
	}
	if !s.Privileged {
		if err := s.drop(); err != nil {
			return err
		}
	}
	return fmt.Errorf("start %s: %w", s.Argv[0], unix.Exec(s.Argv[0], s.Argv, []string{"PATH=/usr/local/bin:/usr/sbin"}))
}

func (s spec) mounts() error {
	bind := func(from, to string) error { return unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, "") }
	readOnly := func(path string) error {
		return unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	proc, sys := filepath.Join(s.Root, "proc"), filepath.Join(s.Root, "sys")
	errs := []error{bind(s.Root, s.Root)}
	for inside, outside := range s.Mounts {
		errs = append(errs, bind(outside, filepath.Join(s.Root, inside)))
	}
	errs = append(errs, readOnly(s.Root), unix.Mount("proc", proc, "proc", 0, ""), unix.Mount("sysfs", sys, "sysfs", 0, ""))
	if !s.Privileged {
		inner := filepath.Join(proc, "sys")
		errs = append(errs, bind(inner, inner), readOnly(inner), readOnly(sys))
	}
	return errors.Join(errs...)
}

// drop gives up all capabilities but those that are granted, and the way to get more.
func (s spec) drop() error {
	keep := map[uintptr]bool{}
	for _, name := range s.Capabilities {
		number, ok := numbers[name]
		if !ok {
			return fmt.Errorf("%s is not a capability that this test knows", name)
		}
		keep[number] = true
	}
	for number := uintptr(0); number <= unix.CAP_LAST_CAP; number++ {
		if keep[number] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, number, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) { // a kernel that is older has fewer
			return fmt.Errorf("drop capability %d: %w", number, err)
		}
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

// prepareRoot makes what a runtime makes in the root: the places that are mounted over.
func prepareRoot(root string, mounts map[string]string) error {
	errs := []error{os.MkdirAll(filepath.Join(root, "proc"), 0o755), os.MkdirAll(filepath.Join(root, "sys"), 0o755)}
	for inside, outside := range mounts {
		place := filepath.Join(root, inside)
		info, err := os.Stat(outside)
		switch {
		case err != nil:
			errs = append(errs, err)
		case info.IsDir():
			errs = append(errs, os.MkdirAll(place, 0o755))
		default:
			errs = append(errs, os.MkdirAll(filepath.Dir(place), 0o755), os.WriteFile(place, nil, 0o600))
		}
	}
	return errors.Join(errs...)
}

// capabilities are names as the kernel's documentation has them.
func capabilities[T ~string](names []T) (all []string) {
	for _, n := range names {
		all = append(all, "CAP_"+strings.TrimPrefix(string(n), "CAP_"))
	}
	return all
}
