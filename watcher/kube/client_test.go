package kube

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// kubeconfig writes a file, and a token beside it.
func kubeconfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	for name, text := range map[string]string{path: text, filepath.Join(filepath.Dir(path), "token"): "secret"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

const goodConfig = `apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: "https://198.51.100.1:6443"}}]
users: [{name: u, user: {tokenFile: token}}]
`

func TestClientConfig(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBERNETES_SERVICE_PORT", "")
	file := kubeconfig(t, goodConfig)
	type result struct{ Host, TokenFile string }
	for _, test := range []struct {
		name, kubeconfig, master string
		want                     result
	}{
		{"a kubeconfig; its paths are relative to it", file, "", result{"https://198.51.100.1:6443", filepath.Join(filepath.Dir(file), "token")}},
		{"a URL alone has no credentials", "", "http://127.0.0.1:8080", result{"http://127.0.0.1:8080", ""}},
		{"both: the URL replaces that of the file", file, "https://127.0.0.1:6443", result{"https://127.0.0.1:6443", filepath.Join(filepath.Dir(file), "token")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := ClientConfig(test.kubeconfig, test.master)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, result{c.Host, c.BearerTokenFile}); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
			if c.QPS != 5 || c.Burst != 10 || c.ContentType != "application/vnd.kubernetes.protobuf" || c.AcceptContentTypes != "" {
				t.Errorf("QPS %v, burst %v, content type %q, accept %q", c.QPS, c.Burst, c.ContentType, c.AcceptContentTypes)
			}
			if !strings.HasPrefix(c.UserAgent, "espalier/") {
				t.Errorf("user agent %q, want espalier/<version>", c.UserAgent)
			}
		})
	}
}

// seen notes the tokens of requests, which it does not answer.
type seen []string

func (s *seen) RoundTrip(r *http.Request) (*http.Response, error) {
	*s = append(*s, r.Header.Get("Authorization"))
	return nil, errors.New("nobody there")
}

// The kubelet renews the token of a service account in its file long before the old one expires.
func TestTokenFileIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config, err := ClientConfig(kubeconfig(t, goodConfig), "https://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		var tokens seen
		config.Transport = &tokens
		api, err := newClients(config)
		if err != nil {
			t.Fatal(err)
		}
		ask := func() { _ = api.core.Get().Resource("services").Do(t.Context()).Error() }
		ask()
		if err := os.WriteFile(config.BearerTokenFile, []byte("renewed"), 0o600); err != nil {
			t.Fatal(err)
		}
		ask()
		time.Sleep(time.Minute)
		ask()
		if diff := cmp.Diff(seen{"Bearer secret", "Bearer secret", "Bearer renewed"}, tokens); diff != "" {
			t.Errorf("tokens (-want +got):\n%s", diff)
		}
	})
}

func TestClientConfigErrors(t *testing.T) {
	for _, test := range []struct {
		name, kubeconfig, master, inCluster string
		want                                []string
	}{
		{"nothing, and not in a cluster", "", "", "", []string{"--kubeconfig FILE", "--master URL", "--manifests PATH"}},
		{"a pod without service account", "", "", "127.0.0.1", []string{"service account of this pod", "no such file"}},
		{"a file that does not exist", "/nonexistent/config", "", "", []string{`read kubeconfig "/nonexistent/config": `, "no such file"}},
		{"an empty file, even in a pod", kubeconfig(t, ""), "", "127.0.0.1", []string{"read kubeconfig ", "it names no cluster"}},
		{"no YAML", kubeconfig(t, "{"), "", "", []string{"read kubeconfig "}},
		{"a context that does not exist", kubeconfig(t, strings.Replace(goodConfig, "current-context: c", "current-context: d", 1)), "", "", []string{"read kubeconfig ", "context was not found for specified context: d"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", test.inCluster)
			t.Setenv("KUBERNETES_SERVICE_PORT", test.inCluster)
			c, err := ClientConfig(test.kubeconfig, test.master)
			if err == nil {
				t.Fatalf("no error, but %v", c.Host)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q, want it to say %q", err, want)
				}
			}
		})
	}
}
