package container

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Spec is a container.
type Spec struct {
	Argv []string // the program and its arguments, as paths inside
	Env  []string

	// Root is an existing empty folder over which the root file system is mounted, out of sight of others.
	Root string
	// Image is a folder with the files of an image, into which the places of mounts are made. Empty: the root file system has
	// the host's programs.
	Image  string
	Mounts []Mount

	// Privileged means all capabilities, and a writable /proc/sys and /sys.
	Privileged      bool
	Capabilities    []string // as in a manifest: NET_ADMIN
	ReadOnlyRoot    bool
	NoNewPrivileges bool
	OOMScoreAdjust  int
	Nice            int // 0 to 19: how much the program stands back where processors are short
}

// Mount is a file or folder of the host that is seen inside.
type Mount struct {
	From, To string
	ReadOnly bool
}

// Role is the first argument of the process that becomes the container: a binary that uses the package calls Run with the
// other arguments then, before anything else.
const Role = "container"

// Command returns the command that runs the container. Its process is number 1 inside: all others end with it.
func (s Spec) Command() (*exec.Cmd, error) {
	for _, c := range s.Capabilities {
		if _, ok := numbers[c]; !ok {
			return nil, fmt.Errorf("run a container with the capability %s: it is not in the list of package container", c)
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("/proc/self/exe", Role, string(text))
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS}
	return cmd, nil
}

// numbers of capabilities that manifests of proxies may ask for (linux/capability.h).
var numbers = map[string]uintptr{
	"NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE,
	"NET_ADMIN":        unix.CAP_NET_ADMIN,
	"NET_RAW":          unix.CAP_NET_RAW,
	"SYS_MODULE":       unix.CAP_SYS_MODULE,
	"SYS_RESOURCE":     unix.CAP_SYS_RESOURCE,
}

// String returns what the program may do.
func (s Spec) String() string {
	if s.Privileged {
		return "privileged"
	}
	return "with " + strings.Join(s.Capabilities, ", ")
}
