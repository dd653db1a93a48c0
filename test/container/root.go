package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// programs is what an image has, too: programs, libraries, and what they read. Other files of /etc and /usr/local are
// the image's own, or mounted.
var programs = []string{
	"/bin", "/sbin", "/lib", "/lib32", "/lib64",
	"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/local/sbin", "/usr/local/lib",
	"/etc/alternatives", "/etc/ld.so.cache", "/etc/protocols",
}

// enter makes the root file system, and makes it the process's own.
func (s Spec) enter() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := s.files(); err != nil {
		return err
	}
	if err := s.kernel(); err != nil {
		return fmt.Errorf("mount what the kernel shows: %w", err)
	}
	for _, m := range s.Mounts {
		if err := s.bind(m); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.From, m.To, err)
		}
	}
	if s.ReadOnlyRoot {
		if err := unix.Mount("", s.Root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make the root file system read-only: %w", err)
		}
	}
	if err := unix.Chdir(s.Root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root file system: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the old root file system: %w", err)
	}
	return unix.Chdir("/")
}

// files mounts the root file system, and into it what an image has.
func (s Spec) files() error {
	if s.Image != "" {
		if err := unix.Mount(s.Image, s.Root, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", s.Image, s.Root, err)
		}
		return nil
	}
	if err := unix.Mount("tmpfs", s.Root, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mount a root file system on %s: %w", s.Root, err)
	}
	for _, path := range programs {
		if err := s.program(path); err != nil {
			return fmt.Errorf("mount %s: %w", path, err)
		}
	}
	return nil
}

// program shows a file or folder of the host, or the link that is in its place, if it exists.
func (s Spec) program(path string) error {
	if to, err := os.Readlink(path); err == nil {
		return os.Symlink(to, filepath.Join(s.Root, path))
	}
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return s.bind(Mount{From: path, To: path, ReadOnly: true})
}

// kernel mounts /proc, /sys and /dev as runtimes do.
func (s Spec) kernel() error {
	var readOnly uintptr
	if !s.Privileged {
		readOnly = unix.MS_RDONLY
	}
	for _, m := range []struct {
		kind, on string
		flags    uintptr
	}{
		{"proc", "/proc", 0},
		{"sysfs", "/sys", readOnly},
		{"tmpfs", "/dev", 0},
	} {
		if err := os.MkdirAll(filepath.Join(s.Root, m.on), 0o755); err != nil {
			return err
		}
		flags := m.flags | unix.MS_NOSUID | unix.MS_NOEXEC
		if err := unix.Mount(m.kind, filepath.Join(s.Root, m.on), m.kind, flags, ""); err != nil {
			return fmt.Errorf("%s: %w", m.on, err)
		}
	}
	if !s.Privileged {
		settings := filepath.Join(s.Root, "/proc/sys")
		if err := s.bind(Mount{From: settings, To: "/proc/sys", ReadOnly: true}); err != nil {
			return err
		}
	}
	for _, device := range []string{"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"} {
		if err := s.bind(Mount{From: device, To: device}); err != nil {
			return err
		}
	}
	return nil
}

// bind shows a file or folder of the host below the new root.
func (s Spec) bind(m Mount) error {
	from, err := os.Stat(m.From)
	if err != nil {
		return err
	}
	to := filepath.Join(s.Root, m.To)
	if from.IsDir() {
		err = os.MkdirAll(to, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
		err = os.WriteFile(to, nil, 0o644)
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := unix.Mount(m.From, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if !m.ReadOnly {
		return nil
	}
	return unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}
