package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"espalier/test/container"
	"espalier/test/e2e/controlplane"
)

// searchPath is what runtimes give to an image that has none of its own.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// wrappers is where an image with iptables-wrappers has them here.
const wrappers = "/opt/iptables"

// critical is the oom_score_adj that the kubelet gives to containers of pods that are system-node-critical.
const critical = -997

// spec translates a container of the DaemonSet as the kubelet does. A field of the manifest that matters, and that is not
// translated, is an error.
func (p *Proxy) spec(w *Workload, c corev1.Container) (container.Spec, error) {
	s := container.Spec{Root: p.dir("root"), OOMScoreAdjust: critical, Nice: p.Nice}
	env := map[string]string{
		"KUBERNETES_SERVICE_HOST": controlplane.ServiceIP.String(),
		"KUBERNETES_SERVICE_PORT": "443",
	}
	for _, e := range c.Env {
		switch {
		case e.ValueFrom == nil:
			env[e.Name] = e.Value
		case e.ValueFrom.FieldRef != nil && e.ValueFrom.FieldRef.FieldPath == "spec.nodeName":
			env[e.Name] = p.node.Name
		default:
			return s, fmt.Errorf("container %s: environment variable %s comes from something that the tests do not know", c.Name, e.Name)
		}
	}
	s.Env = append(s.Env, "PATH="+searchPath)
	if w.Wrapped {
		s.Env[0] = "PATH=" + wrappers + ":" + searchPath
	}
	for name, value := range env {
		s.Env = append(s.Env, name+"="+value)
	}
	for _, word := range append(append([]string{}, c.Command...), c.Args...) {
		for name, value := range env {
			word = strings.ReplaceAll(word, "$("+name+")", value)
		}
		s.Argv = append(s.Argv, word)
	}
	if len(c.Command) == 0 {
		return s, fmt.Errorf("container %s: there is no command", c.Name)
	}
	if err := p.addMounts(&s, w, c); err != nil {
		return s, err
	}
	return s, confine(&s, c)
}

// addMounts adds the image's program, what the manifest mounts, and the ServiceAccount's token.
func (p *Proxy) addMounts(s *container.Spec, w *Workload, c corev1.Container) error {
	s.Mounts = append(s.Mounts,
		container.Mount{From: w.Program, To: w.Path, ReadOnly: true},
		container.Mount{From: p.dir(w.Daemon.Name, "account"), To: account, ReadOnly: true})
	if w.Wrapped {
		s.Mounts = append(s.Mounts, container.Mount{From: p.dir("wrappers"), To: wrappers, ReadOnly: true})
	}
	for _, m := range c.VolumeMounts {
		from := ""
		for _, v := range w.pod().Volumes {
			switch {
			case v.Name != m.Name:
			case v.ConfigMap != nil && v.ConfigMap.Name == w.Config.Name:
				from = p.dir(w.Daemon.Name, "config")
			case v.HostPath != nil:
				from = v.HostPath.Path
			}
		}
		if from == "" {
			return fmt.Errorf("container %s: the tests do not know the volume %s", c.Name, m.Name)
		}
		if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) && m.ReadOnly {
			continue // kernel modules, on a machine that has none
		}
		s.Mounts = append(s.Mounts, container.Mount{From: filepath.Join(from, m.SubPath), To: m.MountPath, ReadOnly: m.ReadOnly})
	}
	return nil
}

// confine translates the securityContext.
func confine(s *container.Spec, c corev1.Container) error {
	context := c.SecurityContext
	if context == nil {
		return fmt.Errorf("container %s: there is no securityContext", c.Name)
	}
	if context.RunAsUser != nil && *context.RunAsUser != 0 || context.RunAsNonRoot != nil && *context.RunAsNonRoot {
		return fmt.Errorf("container %s: the tests do not know how to run it as another user", c.Name)
	}
	s.Privileged = isTrue(context.Privileged)
	s.ReadOnlyRoot = isTrue(context.ReadOnlyRootFilesystem)
	s.NoNewPrivileges = context.AllowPrivilegeEscalation != nil && !*context.AllowPrivilegeEscalation
	if s.Privileged {
		return nil
	}
	if context.Capabilities == nil || len(context.Capabilities.Drop) != 1 || context.Capabilities.Drop[0] != "ALL" {
		return fmt.Errorf("container %s: it does not drop all capabilities before it adds some", c.Name)
	}
	for _, added := range context.Capabilities.Add {
		s.Capabilities = append(s.Capabilities, string(added))
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }

// port returns the number of a container's port that may be given by name.
func port(c corev1.Container, of interface{ String() string }) (string, error) {
	if _, err := strconv.Atoi(of.String()); err == nil {
		return of.String(), nil
	}
	for _, p := range c.Ports {
		if p.Name == of.String() {
			return strconv.Itoa(int(p.ContainerPort)), nil
		}
	}
	return "", fmt.Errorf("container %s has no port %s", c.Name, of)
}
