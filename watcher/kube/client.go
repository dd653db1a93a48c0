package kube

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/flowcontrol"
)

// What kube-proxy uses, too (kubernetes: pkg/proxy/apis/config/v1alpha1/defaults.go). Decoding JSON costs
// several times the CPU and the garbage of decoding protobuf; a server that has only JSON may send it.
const (
	contentType = apiruntime.ContentTypeProtobuf
	requestRate = 5 // per second, over all requests but watches
	requestPeak = 10
)

// ClientConfig says how to reach the API server: by a kubeconfig file, by the URL master, by both, in which
// case the URL replaces the file's, or, if both are empty, as a pod of the cluster. It sends no request.
//
// The caller may change the result: QPS (negative: no limit), Burst, ContentType, AcceptContentTypes and
// UserAgent have the defaults of kube-proxy.
func ClientConfig(kubeconfig, master string) (*rest.Config, error) {
	c, err := clientConfig(kubeconfig, master)
	if err != nil {
		return nil, err
	}
	c.ContentType = contentType
	c.QPS, c.Burst = requestRate, requestPeak
	c.UserAgent = fmt.Sprintf("espalier/%s (%s/%s)", version(), runtime.GOOS, runtime.GOARCH)
	return c, nil
}

func clientConfig(kubeconfig, master string) (*rest.Config, error) {
	if kubeconfig == "" && master == "" {
		c, err := rest.InClusterConfig()
		switch {
		case errors.Is(err, rest.ErrNotInCluster):
			return nil, errors.New("no API server to ask: this is not a pod of a cluster; pass --kubeconfig FILE or --master URL, " +
				"or read the cluster from files with --manifests PATH")
		case err != nil:
			return nil, fmt.Errorf("use the service account of this pod: %w", err)
		}
		return c, nil
	}
	// Not the "deferred loading" config of clientcmd: that one takes the service account of the pod if the file
	// is empty, which nobody asked for.
	file := &clientcmdapi.Config{}
	if kubeconfig != "" {
		var err error
		if file, err = clientcmd.LoadFromFile(kubeconfig); err != nil {
			return nil, fmt.Errorf("read kubeconfig %q: %w", kubeconfig, err)
		}
		if err := clientcmd.ResolveLocalPaths(file); err != nil {
			return nil, fmt.Errorf("read kubeconfig %q: %w", kubeconfig, err)
		}
	}
	overrides := &clientcmd.ConfigOverrides{ClusterInfo: clientcmdapi.Cluster{Server: master}}
	c, err := clientcmd.NewDefaultClientConfig(*file, overrides).ClientConfig()
	switch {
	case err != nil && kubeconfig == "":
		return nil, fmt.Errorf("use API server %q: %w", master, err)
	case clientcmd.IsEmptyConfig(err):
		return nil, fmt.Errorf("read kubeconfig %q: it names no cluster", kubeconfig)
	case err != nil:
		return nil, fmt.Errorf("read kubeconfig %q: %w", kubeconfig, err)
	}
	return c, nil
}

// version returns the version that the Go tool stamped into the binary.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// clients talk to the two API groups over the same connection and under the same limit.
type clients struct {
	core, discovery rest.Interface
}

// ShareLimit lets all clients that are made of the config from now on share its limit of requests, and returns it.
func ShareLimit(c *rest.Config) *rest.Config {
	if c.RateLimiter == nil && c.QPS > 0 && c.Burst > 0 {
		c.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(c.QPS, c.Burst)
	}
	return c
}

func newClients(base *rest.Config) (clients, error) {
	shared := rest.CopyConfig(base)
	shared.NegotiatedSerializer = serializer.NewCodecFactory(newScheme()).WithoutConversion()
	ShareLimit(shared)
	connection, err := rest.HTTPClientFor(shared)
	if err != nil {
		return clients{}, fmt.Errorf("connect to API server %q: %w", base.Host, err)
	}
	client := func(path string, gv schema.GroupVersion) (rest.Interface, error) {
		c := rest.CopyConfig(shared)
		c.APIPath, c.GroupVersion = path, &gv
		client, err := rest.RESTClientForConfigAndClient(c, connection)
		if err != nil {
			return nil, fmt.Errorf("connect to API server %q: %w", base.Host, err)
		}
		return client, nil
	}
	core, err := client("/api", corev1.SchemeGroupVersion)
	if err != nil {
		return clients{}, err
	}
	discovery, err := client("/apis", discoveryv1.SchemeGroupVersion)
	if err != nil {
		return clients{}, err
	}
	return clients{core, discovery}, nil
}

// newScheme knows the kinds that are read here and what every API group has: lists, events, errors.
func newScheme() *apiruntime.Scheme {
	s := apiruntime.NewScheme()
	s.AddKnownTypes(corev1.SchemeGroupVersion,
		&corev1.Service{}, &corev1.ServiceList{}, &corev1.Node{}, &corev1.NodeList{})
	s.AddKnownTypes(discoveryv1.SchemeGroupVersion,
		&discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
	metav1.AddToGroupVersion(s, corev1.SchemeGroupVersion)
	metav1.AddToGroupVersion(s, discoveryv1.SchemeGroupVersion)
	return s
}
