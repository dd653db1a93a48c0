package kube

import (
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// A requestError is an error of a request to the API server, with what we wanted and what can be done about it.
type requestError struct {
	what   string // "list services"
	advice string // may be empty
	err    error
}

func (e *requestError) Error() string {
	if e.advice == "" {
		return fmt.Sprintf("%s: %v", e.what, e.err)
	}
	return fmt.Sprintf("%s: %v; %s", e.what, e.err, e.advice)
}

func (e *requestError) Unwrap() error { return e.err }

// explain returns err with the request and advice.
func (r resource) explain(verb string, err error) error {
	e := &requestError{what: verb + " " + r.name, err: err}
	switch {
	case apierrors.IsForbidden(err):
		group := `the core API group ("")`
		if r.group != "" {
			group = "the API group " + r.group
		}
		e.advice = fmt.Sprintf("this client needs RBAC permission for the verbs list and watch on the resource %s of %s, "+
			"which the ClusterRole system:node-proxier has", r.name, group)
	case apierrors.IsUnauthorized(err):
		e.advice = "the API server does not accept the credentials of the kubeconfig or of the service account"
	case apierrors.IsNotFound(err):
		e.advice = "either this is not the URL of an API server, or its Kubernetes is older than 1.21"
	}
	return e
}

// kindOf returns a word for the kind of an error, which stays the same while the details of its text change
// from attempt to attempt. No word: it is a part of normal operation.
func kindOf(err error) string {
	var (
		request *requestError
		status  apierrors.APIStatus
	)
	switch isStatus := errors.As(err, &status); {
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err):
		return "" // the reflector lists again
	case isStatus:
		return fmt.Sprintf("status %d", status.Status().Code)
	case errors.As(err, &request):
		return "no answer"
	}
	return "no sense"
}

// cannotStream reports whether the server understood a request for a stream of the initial state and refused
// it. Servers without the feature, or with it switched off, call the parameters invalid. The reflector lists
// and watches instead.
func cannotStream(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status().Code {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnprocessableEntity:
		return true
	}
	return false
}
