package kube

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"espalier/watcher/kube/kubetest"
)

// status returns an error as the client library makes it of an answer.
func status(code int32) error {
	return &apierrors.StatusError{ErrStatus: *kubetest.Refusal(code, "", "so says the server")}
}

func TestExplain(t *testing.T) {
	services := resource{name: "services"}
	for _, test := range []struct {
		name   string
		err    error
		kind   string
		advice string
	}{
		{"forbidden", status(403), "status 403", "needs RBAC permission for the verbs list and watch on the resource services"},
		{"unauthorized", status(401), "status 401", "does not accept the credentials"},
		{"not an API server", status(404), "status 404", "not the URL of an API server"},
		{"busy", status(429), "status 429", ""},
		{"expired: the reflector knows what to do", status(410), "", ""},
		{"no connection", fmt.Errorf("dial: %w", syscall.ECONNREFUSED), "no answer", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := services.explain("list", test.err)
			want := "list services: " + test.err.Error()
			if !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), test.advice) {
				t.Errorf("error %q, want %q with advice %q", err, want, test.advice)
			}
			if test.advice == "" && err.Error() != want {
				t.Errorf("error %q, want %q without advice", err, want)
			}
			if got := kindOf(err); got != test.kind {
				t.Errorf("kind %q, want %q", got, test.kind)
			}
			if !errors.Is(err, test.err) {
				t.Error("the cause is lost")
			}
		})
	}
	if got := kindOf(errors.New("the list has no version")); got != "no sense" {
		t.Errorf("an answer that is not understood is of kind %q", got)
	}
}

// The reflector asks these questions about errors, and must get through our explanation.
func TestExplainedErrorsAreRecognised(t *testing.T) {
	r := resource{name: "services"}
	for name, ok := range map[string]bool{
		"too many requests":  apierrors.IsTooManyRequests(r.explain("watch", status(429))),
		"gone":               apierrors.IsGone(r.explain("list", status(410))),
		"connection refused": utilnet.IsConnectionRefused(r.explain("watch", fmt.Errorf("dial: %w", syscall.ECONNREFUSED))),
		"invalid stream":     cannotStream(r.explain("watch", status(422))),
	} {
		if !ok {
			t.Errorf("%s is not recognised", name)
		}
	}
	for _, code := range []int32{401, 403, 404, 410, 429, 500, 503} {
		if cannotStream(status(code)) {
			t.Errorf("status %d counts as a server that has no streams", code)
		}
	}
}
