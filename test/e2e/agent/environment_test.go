package agent

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExpansionIsThatOfKubernetes(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "2"}
	for text, want := range map[string]string{
		"":                 "",
		"plain":            "plain",
		"$(A)":             "1",
		"http://$(A):$(B)": "http://1:2",
		"$(C) stays":       "$(C) stays",
		"$$(A)":            "$(A)",
		"$$$(A)":           "$1",
		"$A and $":         "$A and $",
		"$(A":              "$(A",
	} {
		if got := expand(text, vars); got != want {
			t.Errorf("expand(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestContainerFindsServicesAndItselfInItsEnvironment(t *testing.T) {
	services := []*corev1.Service{
		{ObjectMeta: metav1.ObjectMeta{Name: "web-shop"}, Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.9", Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}, {Name: "dns-2", Port: 53, Protocol: corev1.ProtocolUDP}},
		}},
		{ObjectMeta: metav1.ObjectMeta{Name: "headless"}, Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Port: 1}}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}, Spec: corev1.ServiceSpec{ExternalName: "x.example"}},
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "pod-1", Namespace: "shop", Labels: map[string]string{"app": "web"}},
		Status:     corev1.PodStatus{PodIP: "10.244.1.2", PodIPs: []corev1.PodIP{{IP: "10.244.1.2"}, {IP: "fd00::2"}}, HostIP: "198.18.0.11"},
	}
	from := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	container := &corev1.Container{Env: []corev1.EnvVar{
		{Name: "CALLS", Value: "http://$(WEB_SHOP_SERVICE_HOST):$(WEB_SHOP_SERVICE_PORT_HTTP)/"},
		{Name: "IPS", ValueFrom: from("status.podIPs")},
		{Name: "APP", ValueFrom: from("metadata.labels['app']")},
		{Name: "WHO", Value: "$(APP) at $(IPS)"},
	}}
	got, err := environment(pod, container, services)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(`
		APP=web
		CALLS=http://10.96.0.9:80/
		HOSTNAME=pod-1
		IPS=10.244.1.2,fd00::2
		WEB_SHOP_PORT=tcp://10.96.0.9:80
		WEB_SHOP_PORT_53_UDP=udp://10.96.0.9:53
		WEB_SHOP_PORT_53_UDP_ADDR=10.96.0.9
		WEB_SHOP_PORT_53_UDP_PORT=53
		WEB_SHOP_PORT_53_UDP_PROTO=udp
		WEB_SHOP_PORT_80_TCP=tcp://10.96.0.9:80
		WEB_SHOP_PORT_80_TCP_ADDR=10.96.0.9
		WEB_SHOP_PORT_80_TCP_PORT=80
		WEB_SHOP_PORT_80_TCP_PROTO=tcp
		WEB_SHOP_SERVICE_HOST=10.96.0.9
		WEB_SHOP_SERVICE_PORT=80
		WEB_SHOP_SERVICE_PORT_DNS_2=53
		WEB_SHOP_SERVICE_PORT_HTTP=80`)
	want = append(want, "WHO=web at 10.244.1.2,fd00::2")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	container.Env = []corev1.EnvVar{{Name: "X", ValueFrom: from("spec.whatever")}}
	if _, err := environment(pod, container, nil); err == nil {
		t.Error("a field that is not known: no error")
	}
}
