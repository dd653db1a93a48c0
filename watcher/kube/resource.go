package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/pager"
)

// resource is a set of objects at the API server that is followed as a whole. The server leaves out what the
// selectors exclude; convert looks again, for servers that ignore selectors.
type resource struct {
	name, group    string // as in RBAC rules
	labels, fields string // selectors
	client         rest.Interface
	object         runtime.Object // an example
	sink           cache.ReflectorStore
	link           *link // of the sink, too
}

// services leaves out those that belong to another proxy (KEP-2447) and headless ones.
func services(c clients) resource {
	return resource{
		name: "services", client: c.core, object: &corev1.Service{},
		labels: "!service.kubernetes.io/service-proxy-name",
		fields: fields.OneTermNotEqualSelector("spec.clusterIP", corev1.ClusterIPNone).String(),
	}
}

// endpointSlices leaves out those of headless Services. Slices of a Service that belongs to another proxy
// cannot be told apart by a selector: they come, and find no Service.
func endpointSlices(c clients) resource {
	return resource{
		name: "endpointslices", group: discoveryv1.GroupName, client: c.discovery, object: &discoveryv1.EndpointSlice{},
		labels: "!" + corev1.IsHeadlessService,
	}
}

// ownNode is a set of at most one. To follow all Nodes from every Node would be quadratic load on the server.
func ownNode(c clients, name string) resource {
	return resource{
		name: "nodes", client: c.core, object: &corev1.Node{},
		fields: fields.OneTermEqualSelector(metav1.ObjectNameField, name).String(),
	}
}

// request starts a GET of the resource in all namespaces.
func (r resource) request(o metav1.ListOptions) *rest.Request {
	o.LabelSelector, o.FieldSelector = r.labels, r.fields
	return r.client.Get().Resource(r.name).VersionedParams(&o, metav1.ParameterCodec)
}

func (r resource) list(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	list, err := r.request(o).Do(ctx).Get()
	if err != nil {
		err = r.explain(verbList, err)
		r.link.broke(ctx, verbList, err)
		return nil, err
	}
	r.link.opened(verbList)
	return list, nil
}

func (r resource) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	o.Watch = true
	w, err := r.request(o).Watch(ctx)
	if err != nil {
		err = r.explain(verbWatch, err)
		if o.SendInitialEvents == nil || !cannotStream(err) {
			r.link.broke(ctx, verbWatch, err)
		}
		return nil, err
	}
	r.link.opened(verbWatch)
	return w, nil
}

// read calls each for every object that the server has now, page by page.
func (r resource) read(ctx context.Context, each func(runtime.Object) error) error {
	p := pager.New(r.list)
	p.PageSize = pageSize
	return p.EachListItem(ctx, metav1.ListOptions{}, each)
}

// pageSize is four times what client-go uses by default: with 30,000 Services, and as many slices, that
// would be 120 requests, and twenty seconds because of requestRate.
const pageSize = 2000
