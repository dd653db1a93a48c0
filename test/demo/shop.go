package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/yaml"

	"espalier/test/demo/shop"
)

// An app is one Deployment of the shop with the Service in front of it.
type app struct {
	name       string
	deployment appsv1.Deployment
	service    corev1.Service
	pods       []*pod // that exist, the oldest first
	born       int    // how many there have ever been
}

// readShop reads the manifests, in the order in which a request meets the apps, and copies them to dir.
func readShop(dir string) ([]*app, error) {
	var apps []*app
	for _, name := range shop.Apps {
		text, err := shop.Manifest(name)
		if err != nil {
			return nil, err
		}
		a, err := parseApp(name, text)
		if err != nil {
			return nil, fmt.Errorf("read %s.yaml: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), text, 0o644); err != nil {
			return nil, err
		}
		apps = append(apps, a)
	}
	return apps, nil
}

func parseApp(name string, text []byte) (*app, error) {
	a := &app{name: name}
	deployment, service, ok := bytes.Cut(text, []byte("\n---\n"))
	if !ok {
		return nil, fmt.Errorf("want a Deployment and a Service")
	}
	if err := yaml.UnmarshalStrict(deployment, &a.deployment); err != nil {
		return nil, err
	}
	if err := yaml.UnmarshalStrict(service, &a.service); err != nil {
		return nil, err
	}
	if a.deployment.Kind != "Deployment" || a.service.Kind != "Service" || a.service.Spec.ClusterIP == "" {
		return nil, fmt.Errorf("want a Deployment, then a Service with a cluster IP")
	}
	return a, nil
}

// clusterIP returns where the Service is found.
func (a *app) clusterIP() netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(a.service.Spec.ClusterIP), uint16(a.service.Spec.Ports[0].Port))
}

// nodePort returns the port of the Service on the node; zero: none.
func (a *app) nodePort() uint16 { return uint16(a.service.Spec.Ports[0].NodePort) }

func (a *app) container() corev1.Container { return a.deployment.Spec.Template.Spec.Containers[0] }

// podPort returns the port on which the pods listen, as the Service's targetPort names it.
func (a *app) podPort() (uint16, error) {
	target := a.service.Spec.Ports[0].TargetPort
	for _, port := range a.container().Ports {
		if target == intstr.FromString(port.Name) || target == intstr.FromInt32(port.ContainerPort) {
			return uint16(port.ContainerPort), nil
		}
	}
	return 0, fmt.Errorf("Service %s: no container has the target port %s", a.name, target.String())
}

// preStop returns how long a pod serves on after it was deleted, so that everybody can learn of it.
func (a *app) preStop() time.Duration {
	if hooks := a.container().Lifecycle; hooks != nil && hooks.PreStop != nil && hooks.PreStop.Sleep != nil {
		return time.Duration(hooks.PreStop.Sleep.Seconds) * time.Second
	}
	return 0
}

// environment returns what a container of the app finds in its environment: the addresses of all Services,
// as kubelet puts them there, and the container's own entries, which may refer to them.
func (a *app) environment(all []*app, pod string) []string {
	vars := map[string]string{"HOSTNAME": pod}
	for _, other := range all {
		prefix := strings.ToUpper(strings.ReplaceAll(other.name, "-", "_"))
		vars[prefix+"_SERVICE_HOST"] = other.clusterIP().Addr().String()
		vars[prefix+"_SERVICE_PORT"] = strconv.Itoa(int(other.clusterIP().Port()))
	}
	for _, entry := range a.container().Env {
		vars[entry.Name] = reference.ReplaceAllStringFunc(entry.Value, func(ref string) string {
			return vars[reference.FindStringSubmatch(ref)[1]]
		})
	}
	var env []string
	for name, value := range vars {
		env = append(env, name+"="+value)
	}
	return env
}

// reference is how one variable refers to another: $(BACKEND_SERVICE_HOST).
var reference = regexp.MustCompile(`\$\(([A-Za-z0-9_]+)\)`)
