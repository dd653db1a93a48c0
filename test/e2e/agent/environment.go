package agent

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// environment returns what a container finds in its environment, as the kubelet puts it there: the Services of its
// namespace, its host name, and its own entries, which may refer to those before them.
func environment(p *corev1.Pod, c *corev1.Container, services []*corev1.Service) ([]string, error) {
	vars := map[string]string{}
	if p.Spec.EnableServiceLinks == nil || *p.Spec.EnableServiceLinks {
		for _, s := range services {
			addService(vars, s)
		}
	}
	vars["HOSTNAME"] = p.Name
	if p.Spec.Hostname != "" {
		vars["HOSTNAME"] = p.Spec.Hostname
	}
	for _, e := range c.Env {
		value := expand(e.Value, vars)
		if e.ValueFrom != nil {
			var err error
			if value, err = field(p, e.ValueFrom); err != nil {
				return nil, fmt.Errorf("variable %s: %w", e.Name, err)
			}
		}
		vars[e.Name] = value
	}
	var env []string
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env, nil
}

// addService adds the variables of a Service: those of Kubernetes, and those that Docker's links had.
func addService(vars map[string]string, s *corev1.Service) {
	ip := s.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	prefix := variable(s.Name)
	first := s.Spec.Ports[0]
	vars[prefix+"_SERVICE_HOST"] = ip
	vars[prefix+"_SERVICE_PORT"] = strconv.Itoa(int(first.Port))
	vars[prefix+"_PORT"] = portURL(ip, first)
	for _, port := range s.Spec.Ports {
		number := strconv.Itoa(int(port.Port))
		if port.Name != "" {
			vars[prefix+"_SERVICE_PORT_"+variable(port.Name)] = number
		}
		link := prefix + "_PORT_" + number + "_" + string(port.Protocol)
		vars[link] = portURL(ip, port)
		vars[link+"_PROTO"] = strings.ToLower(string(port.Protocol))
		vars[link+"_PORT"] = number
		vars[link+"_ADDR"] = ip
	}
}

func portURL(ip string, p corev1.ServicePort) string {
	return strings.ToLower(string(p.Protocol)) + "://" + net.JoinHostPort(ip, strconv.Itoa(int(p.Port)))
}

// variable turns a name of Kubernetes into one of a variable.
func variable(name string) string { return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) }

// expand replaces $(NAME) by its value. What is not known stays as it is, and $$ stands for $.
func expand(text string, vars map[string]string) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		name, after, closed := strings.Cut(strings.TrimPrefix(rest, "("), ")")
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteString("$")
			text = rest[1:]
		case strings.HasPrefix(rest, "(") && closed:
			if value, ok := vars[name]; ok {
				out.WriteString(value)
			} else {
				out.WriteString("$(" + name + ")")
			}
			text = after
		default:
			out.WriteString("$")
			text = rest
		}
	}
}

// variables is the inverse of what makes an environment of them.
func variables(env []string) map[string]string {
	vars := map[string]string{}
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		vars[name] = value
	}
	return vars
}

// field returns what the downward API gives.
func field(p *corev1.Pod, from *corev1.EnvVarSource) (string, error) {
	if from.FieldRef == nil {
		return "", fmt.Errorf("only values and fieldRef are known here")
	}
	var ips []string
	for _, ip := range p.Status.PodIPs {
		ips = append(ips, ip.IP)
	}
	path := from.FieldRef.FieldPath
	switch path {
	case "metadata.name":
		return p.Name, nil
	case "metadata.namespace":
		return p.Namespace, nil
	case "metadata.uid":
		return string(p.UID), nil
	case "spec.nodeName":
		return p.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "status.podIP":
		return p.Status.PodIP, nil
	case "status.podIPs":
		return strings.Join(ips, ","), nil
	case "status.hostIP":
		return p.Status.HostIP, nil
	}
	for prefix, of := range map[string]map[string]string{"metadata.labels['": p.Labels, "metadata.annotations['": p.Annotations} {
		if name, ok := strings.CutPrefix(path, prefix); ok {
			return of[strings.TrimSuffix(name, "']")], nil
		}
	}
	return "", fmt.Errorf("fieldPath %s is not known here", path)
}
