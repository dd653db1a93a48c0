package container_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"espalier/test/container"
	"espalier/test/netns/lab"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == container.Role {
		os.Exit(container.Run(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// run runs a script in a container, in a network namespace of its own, and returns what it prints.
func run(t *testing.T, s container.Spec, script string) string {
	t.Helper()
	ns, err := lab.NewNamespace("container")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	s.Root = t.TempDir()
	s.Argv = []string{"/bin/sh", "-c", script}
	s.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd, err := s.Command()
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	err = ns.Do(func() (err error) { // the child gets the namespace of the thread that starts it
		out, err = cmd.CombinedOutput()
		return err
	})
	if _, ended := err.(*exec.ExitError); err != nil && !ended { //nolint:errorlint // Run wraps nothing
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestAContainerHasWhatItIsGivenAndNoMore(t *testing.T) {
	if err := lab.Usable(); err != nil || lab.Rootless() {
		text := fmt.Sprintf("needs root, for namespaces and mounts: %v", err)
		if os.Getenv("NETNS") != "" {
			t.Fatal(text)
		}
		t.Skip(text)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	confined := container.Spec{
		Capabilities: []string{"NET_ADMIN"}, ReadOnlyRoot: true, NoNewPrivileges: true, OOMScoreAdjust: -997,
		Mounts: []container.Mount{{From: dir, To: "/etc/config", ReadOnly: true}, {From: dir, To: "/data"}},
	}
	privileged := container.Spec{Privileged: true}
	image := container.Spec{Image: t.TempDir(), ReadOnlyRoot: true, Capabilities: []string{"NET_ADMIN"}, Mounts: []container.Mount{
		{From: "/bin", To: "/bin"}, {From: "/lib", To: "/lib"}, {From: "/lib64", To: "/lib64"}, {From: "/usr/bin", To: "/usr/bin"}, {From: dir, To: "/data"},
	}}
	if err := os.WriteFile(filepath.Join(image.Image, "of-the-image"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	const caps = `sed -n 's/^Cap\(Eff\|Bnd\):.*\(....\)$/\2/p' /proc/self/status | tr '\n' ' '`
	for _, c := range []struct {
		what   string
		spec   container.Spec
		script string
		want   string
	}{
		{"it is process 1", confined, "echo $$", "1"},
		{"it has one capability", confined, caps, "1000 1000"},
		{"it gets no more by exec", confined, "sed -n 's/^NoNewPrivs:.//p' /proc/self/status", "1"},
		{"it reads what is mounted", confined, "cat /etc/config/file", "hello"},
		{"it cannot write what is mounted read-only", confined, "echo x 2>&1 >/etc/config/file | grep -o 'Read-only file system'", "Read-only file system"},
		{"it writes what is mounted read-write", confined, "echo x >/data/new && cat /data/new", "x"},
		{"it cannot write to its root", confined, "mkdir /new 2>&1 | grep -o 'Read-only file system'", "Read-only file system"},
		{"it cannot set sysctls", confined, "echo 1 2>&1 >/proc/sys/net/ipv4/ip_forward | grep -o 'Read-only file system'", "Read-only file system"},
		{"it does not see the machine's files", confined, "ls / | grep -c '^home$\\|^root$\\|^tmp$\\|^var$'", "0"},
		{"it cannot mount", confined, "mount -t tmpfs none /data 2>&1 | grep -o 'permission denied'", "permission denied"},
		{"it has the files of its image", image, "ls -d /of-the-image /usr/sbin 2>/dev/null", "/of-the-image"},
		{"it cannot write to its image", image, "mkdir /new 2>&1 | grep -o 'Read-only file system'", "Read-only file system"},
		{"a privileged one sets sysctls", privileged, "echo 1 >/proc/sys/net/ipv4/ip_forward && echo done", "done"},
		{"a privileged one has every capability", privileged, caps, "ffff ffff"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := run(t, c.spec, c.script); got != c.want {
				t.Errorf("%s\n  prints %q, want %q", c.script, got, c.want)
			}
		})
	}
}

func TestACapabilityThatNobodyKnowsIsAnError(t *testing.T) {
	if _, err := (container.Spec{Capabilities: []string{"NET_ADMIM"}}).Command(); err == nil || !strings.Contains(fmt.Sprint(err), "NET_ADMIM") {
		t.Errorf("the error is %v, want one that names it", err)
	}
}
