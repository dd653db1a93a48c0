package health

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/model"
)

func TestAnswer(t *testing.T) {
	for _, test := range []struct {
		name    string
		ready   int64
		healthy bool
		code    int
		weight  string
		body    string
	}{
		{
			"no local endpoint", 0, true, 503, "0",
			"{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 0,\n\t\"serviceProxyHealthy\": true\n}",
		},
		{
			"two local endpoints", 2, true, 200, "2",
			"{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}",
		},
		{
			"endpoints, but old rules: the weight stays", 2, false, 503, "2",
			"{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": false\n}",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := service{name: model.ServiceName{Namespace: "shop", Name: "web"}, healthy: func() bool { return test.healthy }}
			s.ready.Store(test.ready)
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest("POST", "/any/path?q", nil))
			got := w.Result()
			if got.StatusCode != test.code {
				t.Errorf("status %d, want %d", got.StatusCode, test.code)
			}
			want := http.Header{
				"Content-Type":                     {"application/json"},
				"X-Content-Type-Options":           {"nosniff"},
				"X-Load-Balancing-Endpoint-Weight": {test.weight},
			}
			if diff := cmp.Diff(want, got.Header); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
			body, _ := io.ReadAll(got.Body)
			if diff := cmp.Diff(test.body, string(body)); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
}
