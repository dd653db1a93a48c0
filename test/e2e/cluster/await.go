package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Until asks again and again until something is so. What it is not yet is said by an error, the last of which is in the
// error when ctx ends.
func Until(ctx context.Context, what string, ask func(context.Context) error) error {
	var last error
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil { // else: that there was no time for another answer
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w: %w", what, context.Cause(ctx), last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// AwaitRollout does what "kubectl rollout status deployment" does: all pods are there, of the newest version, and ready.
func (c *Cluster) AwaitRollout(ctx context.Context, namespace, name string) error {
	return Until(ctx, fmt.Sprintf("Deployment %s/%s is rolled out", namespace, name), func(ctx context.Context) error {
		d, err := c.Client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		wanted, s := *d.Spec.Replicas, d.Status
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas != wanted || s.Replicas != wanted || s.AvailableReplicas != wanted {
			return fmt.Errorf("of %d pods, %d are up to date and %d available; there are %d", wanted, s.UpdatedReplicas, s.AvailableReplicas, s.Replicas)
		}
		return nil
	})
}

// RemoveNamespace deletes a namespace and waits until it is gone.
func (c *Cluster) RemoveNamespace(ctx context.Context, name string) error {
	err := c.Client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
	if err != nil {
		return fmt.Errorf("delete namespace %s: %w", name, err)
	}
	return Until(ctx, fmt.Sprintf("namespace %s is gone", name), func(ctx context.Context) error {
		_, err := c.Client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return errors.New("it is there")
	})
}
