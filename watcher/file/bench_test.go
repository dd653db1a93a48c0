package file

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"

	"espalier/watcher/convert"
)

// BenchmarkRead reads clusters of one slice of three endpoints for each Service, as kubectl prints them.
func BenchmarkRead(b *testing.B) {
	for _, services := range []int{1000, 10000} {
		list := clusterYAML(services)
		b.Run(fmt.Sprintf("yaml/services=%d", services), func(b *testing.B) { benchmarkRead(b, list, services) })
	}
	asJSON, err := yaml.YAMLToJSON(clusterYAML(1000))
	must(b, err)
	b.Run("json/services=1000", func(b *testing.B) { benchmarkRead(b, asJSON, 1000) })
}

func benchmarkRead(b *testing.B, text []byte, services int) {
	name := filepath.Join(b.TempDir(), "cluster")
	must(b, os.WriteFile(name, text, 0o644))
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		r, err := Read(name, nil, convert.Options{})
		if err != nil || len(r.State.Services) != services || len(r.State.Slices) != services {
			b.Fatalf("%d Services, %d slices: %v", len(r.State.Services), len(r.State.Slices), err)
		}
	}
	b.ReportMetric(float64(b.N)*float64(services)/b.Elapsed().Seconds(), "services/s")
}

func clusterYAML(services int) []byte {
	var b bytes.Buffer
	b.WriteString("apiVersion: v1\nitems:\n")
	for i := range services {
		fmt.Fprintf(&b, `- apiVersion: v1
  kind: Service
  metadata:
    creationTimestamp: "2026-08-01T10:00:00Z"
    labels:
      app: web-%[1]d
    name: web-%[1]d
    namespace: shop
    resourceVersion: "%[1]d"
    uid: 0f7a1c0e-5a0e-4f0e-9a55-%012[1]d
  spec:
    clusterIP: 10.%[2]d.%[3]d.%[4]d
    clusterIPs:
    - 10.%[2]d.%[3]d.%[4]d
    internalTrafficPolicy: Cluster
    ipFamilies:
    - IPv4
    ipFamilyPolicy: SingleStack
    ports:
    - name: http
      port: 80
      protocol: TCP
      targetPort: 8080
    selector:
      app: web-%[1]d
    sessionAffinity: None
    type: ClusterIP
  status:
    loadBalancer: {}
- addressType: IPv4
  apiVersion: discovery.k8s.io/v1
  endpoints:
`, i, 96+i>>16, i>>8&255, i&255)
		for pod := range 3 {
			fmt.Fprintf(&b, `  - addresses:
    - 10.%[2]d.%[3]d.%[4]d
    conditions:
      ready: true
      serving: true
      terminating: false
    nodeName: node-%[5]d
    targetRef:
      kind: Pod
      name: web-%[1]d-%[5]d
      namespace: shop
      uid: 5a0e1c0e-5a0e-4f0e-9a5%[5]d-%012[1]d
    zone: zone-%[5]d
`, i, 100+10*pod+i>>16, i>>8&255, i&255, pod)
		}
		fmt.Fprintf(&b, `  kind: EndpointSlice
  metadata:
    annotations:
      endpoints.kubernetes.io/last-change-trigger-time: "2026-08-01T10:00:00Z"
    creationTimestamp: "2026-08-01T10:00:00Z"
    generateName: web-%[1]d-
    generation: 4
    labels:
      app: web-%[1]d
      endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io
      kubernetes.io/service-name: web-%[1]d
    name: web-%[1]d-x7k2p
    namespace: shop
    ownerReferences:
    - apiVersion: v1
      blockOwnerDeletion: true
      controller: true
      kind: Service
      name: web-%[1]d
      uid: 0f7a1c0e-5a0e-4f0e-9a55-%012[1]d
    resourceVersion: "%[1]d"
    uid: 0f7a1c0e-4f0e-5a0e-9a55-%012[1]d
  ports:
  - name: http
    port: 8080
    protocol: TCP
`, i)
	}
	b.WriteString("kind: List\nmetadata:\n  resourceVersion: \"\"\n")
	return b.Bytes()
}
