package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"espalier/test/e2e/wire"
	"espalier/test/netns/lab"
)

// Config says for which node an agent works.
type Config struct {
	Client kubernetes.Interface
	Node   *wire.Node
	Zone   string // its label; empty: none
	// Backoff is the pause before a container that ended is started again; it doubles each time. Zero: a second.
	Backoff time.Duration
	// Log is told what happens; nil: nobody is.
	Log func(format string, args ...any)
}

// Agent is the agent of one node.
type Agent struct {
	config   Config
	services corelisters.ServiceLister

	mu      sync.Mutex
	workers map[types.UID]*worker
	running sync.WaitGroup // the workers
}

// New makes an agent that does nothing until Run.
func New(c Config) *Agent {
	if c.Backoff == 0 {
		c.Backoff = time.Second
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	return &Agent{config: c, workers: map[types.UID]*worker{}}
}

// Run registers the Node, waits until it has its pod ranges, and then runs its pods until ctx ends, which is as if
// somebody pulled the plug. The Node stays registered. It may be called again after it has returned: that is a reboot.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.register(ctx); err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	helpers.Go(func() { a.renewLease(ctx) })

	all := informers.NewSharedInformerFactory(a.config.Client, 0)
	a.services = all.Core().V1().Services().Lister()
	servicesKnown := all.Core().V1().Services().Informer().HasSynced
	mine := informers.NewSharedInformerFactoryWithOptions(a.config.Client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", a.name()).String()
	}))
	pods := mine.Core().V1().Pods().Informer()
	// What a container finds in its environment are the Services that were there when it was started: know them first.
	all.StartWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), servicesKnown) {
		return context.Cause(ctx)
	}
	_, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { a.set(ctx, o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { a.set(ctx, o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = last.Obj
			}
			a.forget(o.(*corev1.Pod))
		},
	})
	if err != nil {
		return fmt.Errorf("watch the pods of %s: %w", a.name(), err)
	}
	mine.StartWithContext(ctx)
	<-ctx.Done()
	mine.Shutdown() // no worker begins from here on
	all.Shutdown()
	a.running.Wait()
	return nil
}

func (a *Agent) name() string { return a.config.Node.Name }

// set tells a pod's worker how the pod is now. A pod of the same name that is another one replaces it.
func (a *Agent) set(ctx context.Context, p *corev1.Pod) {
	if p.Spec.NodeName != a.name() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for uid, w := range a.workers {
		if uid != p.UID && w.key == keyOf(p) {
			w.leave()
		}
	}
	w, ok := a.workers[p.UID]
	if !ok {
		w = newWorker(ctx, a, p)
		a.workers[p.UID] = w
		a.running.Go(func() {
			w.run()
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.workers, p.UID)
		})
	}
	w.tell(p)
}

// forget ends a pod that the API server does not have any more, at once.
func (a *Agent) forget(p *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w, ok := a.workers[p.UID]; ok {
		w.leave()
	}
}

// ErrNoPod is returned when a node has no pod of a name that runs.
var ErrNoPod = errors.New("no such pod runs on this node")

// Namespace returns the network namespace of a pod, for programs that are run as if by "kubectl exec".
func (a *Agent) Namespace(namespace, name string) (*lab.Namespace, error) {
	w, err := a.find(namespace, name)
	if err != nil {
		return nil, err
	}
	return w.namespace()
}

// Kill ends the containers of a pod by SIGKILL, as a crash does. It returns when they are gone.
func (a *Agent) Kill(namespace, name string) error {
	w, err := a.find(namespace, name)
	if err != nil {
		return err
	}
	return w.crash()
}

// Logs returns what the containers of a pod have printed.
func (a *Agent) Logs(namespace, name string) (string, error) {
	w, err := a.find(namespace, name)
	if err != nil {
		return "", err
	}
	return w.log.Since(0), nil
}

func (a *Agent) find(namespace, name string) (*worker, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		if w.key == (types.NamespacedName{Namespace: namespace, Name: name}) {
			return w, nil
		}
	}
	return nil, fmt.Errorf("pod %s/%s on %s: %w", namespace, name, a.name(), ErrNoPod)
}

// Pods returns the pods that are there, sorted.
func (a *Agent) Pods() (all []types.NamespacedName) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		all = append(all, w.key)
	}
	slices.SortFunc(all, func(x, y types.NamespacedName) int { return strings.Compare(x.String(), y.String()) })
	return all
}

// servicesOf returns the Services that a container in a namespace finds in its environment.
func (a *Agent) servicesOf(namespace string) ([]*corev1.Service, error) {
	services, err := a.services.Services(namespace).List(labels.Everything())
	if err != nil {
		return nil, err
	}
	if namespace != metav1.NamespaceDefault {
		if kubernetes, err := a.services.Services(metav1.NamespaceDefault).Get("kubernetes"); err == nil {
			services = append(services, kubernetes)
		}
	}
	return services, nil
}

func keyOf(p *corev1.Pod) types.NamespacedName {
	return types.NamespacedName{Namespace: p.Namespace, Name: p.Name}
}
