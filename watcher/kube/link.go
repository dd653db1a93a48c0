package kube

import (
	"context"
	"sync"

	"k8s.io/klog/v2"
)

// link is the state of the connection for one resource. It exists to log changes of that state, instead of
// every attempt: a server that is away for an hour is one line when it goes and one when it comes back.
type link struct {
	resource string
	logger   klog.Logger

	mu       sync.Mutex
	failing  string // the kind of what went wrong last; empty: nothing
	verb     string // what failed
	answered string // the verb of the last request that was answered
}

// The verbs of RBAC rules that are needed.
const (
	verbList  = "list"
	verbWatch = "watch"
)

// opened says that a request was answered without an error; a watch has yet to show that it works.
func (l *link) opened(verb string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answered = verb
}

// broke says that a request, or what came of it, ended with an error. It logs what is news.
func (l *link) broke(ctx context.Context, verb string, err error) {
	kind := kindOf(err)
	if kind == "" || ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	again := l.failing == kind
	l.failing, l.verb = kind, verb
	l.mu.Unlock()
	if again {
		l.logger.V(4).Info("The API server still does not deliver", "resource", l.resource, "err", err)
		return
	}
	l.logger.Error(err, "The API server does not deliver; what is known stays in force", "resource", l.resource)
}

// works says that objects, or at least a sign of life, arrived. Objects of a list prove nothing about a watch
// that fails.
func (l *link) works() {
	l.mu.Lock()
	was := l.failing
	if l.verb == verbWatch && l.answered == verbList {
		was = ""
	} else {
		l.failing = ""
	}
	l.mu.Unlock()
	if was != "" {
		l.logger.Info("The API server delivers again", "resource", l.resource, "before", was)
	}
}
