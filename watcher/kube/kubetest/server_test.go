package kubetest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ask sends a request for protobuf, or with a body.
func ask(t *testing.T, s *Server, method, path, body string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/vnd.kubernetes.protobuf")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, text
}

func TestPreparedObjectsReadTheSame(t *testing.T) {
	s := Start()
	defer s.Close()
	s.Apply(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1"}})
	const stream = "/api/v1/services?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=0"
	_, before := ask(t, s, http.MethodGet, stream, "")
	s.Prepare()
	_, prepared := ask(t, s, http.MethodGet, stream, "")
	if len(before) == 0 || !bytes.Equal(before, prepared) {
		t.Errorf("%d bytes before, %d bytes prepared, which differ", len(before), len(prepared))
	}
	s.Apply(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.2"}})
	if _, after := ask(t, s, http.MethodGet, stream, ""); !bytes.Contains(after, []byte("10.96.0.2")) || bytes.Contains(after, []byte("10.96.0.1")) {
		t.Error("a change of a prepared object does not show")
	}
}

func TestWhatKubeProxyAlsoAsks(t *testing.T) {
	s := Start()
	defer s.Close()
	if code, body := ask(t, s, http.MethodGet, "/apis/networking.k8s.io/v1/servicecidrs", ""); code != http.StatusOK || !bytes.Contains(body, []byte("ServiceCIDRList")) {
		t.Errorf("ServiceCIDRs: %d %q", code, body)
	}
	if code, _ := ask(t, s, http.MethodGet, "/api/v1/secrets", ""); code != http.StatusNotFound {
		t.Errorf("Secrets: %d, want 404", code)
	}
}
