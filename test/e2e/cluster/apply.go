package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
)

// manifests applies and deletes objects of all kinds.
type manifests struct {
	kinds   meta.RESTMapper
	objects dynamic.Interface
}

func newManifests(config *rest.Config) (*manifests, error) {
	asker, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(asker)
	if err != nil {
		return nil, fmt.Errorf("ask the API server for its kinds: %w", err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &manifests{kinds: restmapper.NewDiscoveryRESTMapper(groups), objects: objects}, nil
}

// apply does what "kubectl apply --server-side --force-conflicts" does with the documents of a manifest. A namespace
// that is named and does not exist is made.
func (m *manifests) apply(ctx context.Context, text []byte) error {
	return m.each(text, func(o *unstructured.Unstructured, in dynamic.ResourceInterface) error {
		options := metav1.ApplyOptions{FieldManager: "e2e", Force: true}
		_, err := in.Apply(ctx, o.GetName(), o, options)
		if apierrors.IsNotFound(err) && o.GetNamespace() != "" {
			if err := m.apply(ctx, fmt.Appendf(nil, "{apiVersion: v1, kind: Namespace, metadata: {name: %q}}", o.GetNamespace())); err != nil {
				return err
			}
			_, err = in.Apply(ctx, o.GetName(), o, options)
		}
		return err
	})
}

// delete deletes the objects of a manifest, in the background. What is not there is as good as deleted.
func (m *manifests) delete(ctx context.Context, text []byte) error {
	return m.each(text, func(o *unstructured.Unstructured, in dynamic.ResourceInterface) error {
		err := in.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: new(metav1.DeletePropagationBackground)})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

// each calls do for each document, with where objects of its kind are.
func (m *manifests) each(text []byte, do func(*unstructured.Unstructured, dynamic.ResourceInterface) error) error {
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := documents.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a manifest: %w", err)
		}
		if len(o.Object) == 0 {
			continue
		}
		in, err := m.resource(o)
		if err == nil {
			err = do(o, in)
		}
		if err != nil {
			return fmt.Errorf("%s %s/%s: %w", o.GetKind(), o.GetNamespace(), o.GetName(), err)
		}
	}
}

func (m *manifests) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := m.kinds.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return m.objects.Resource(mapping.Resource), nil
	}
	if o.GetNamespace() == "" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
	return m.objects.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
}
