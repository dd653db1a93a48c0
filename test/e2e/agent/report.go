package agent

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// report has the pod's status written, if it is not what the API server has.
func (w *worker) report() {
	p := w.pod.DeepCopy()
	p.Status = w.status()
	if equality.Semantic.DeepEqual(p.Status, w.pod.Status) {
		return
	}
	latest(w.reports, p)
}

// writeReports writes what is to be reported until ctx ends. Of several reports, only the last is of interest.
func (w *worker) writeReports(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-w.reports:
			w.write(ctx, p, func() bool { return len(w.reports) > 0 })
		}
	}
}

// write writes a pod's status, and tries until it is written, or there is a newer one, or no such pod any more.
func (w *worker) write(ctx context.Context, p *corev1.Pod, outdated func() bool) {
	pods := w.agent.config.Client.CoreV1().Pods(w.key.Namespace)
	for ctx.Err() == nil && !outdated() {
		_, err := pods.UpdateStatus(ctx, p, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) { // somebody else changed it: ours is as good as before
			now, got := pods.Get(ctx, w.key.Name, metav1.GetOptions{})
			if got == nil && now.UID == p.UID {
				now.Status = merge(now.Status, p.Status)
				p = now
				continue
			}
			err = got
		}
		if err == nil || apierrors.IsNotFound(err) {
			return
		}
		if ctx.Err() == nil {
			w.agent.config.Log("%s: pod %s: report its status: %v", w.agent.name(), w.key, err)
		}
		pause(ctx, retryAfter)
	}
}

// merge puts our part of a status into what the API server has.
func merge(has, ours corev1.PodStatus) corev1.PodStatus {
	for _, c := range has.Conditions {
		known := false
		for _, own := range ours.Conditions {
			known = known || own.Type == c.Type
		}
		if !known {
			ours.Conditions = append(ours.Conditions, c)
		}
	}
	ours.QOSClass, ours.NominatedNodeName, ours.ObservedGeneration = has.QOSClass, has.NominatedNodeName, has.ObservedGeneration
	return ours
}

// remove deletes the pod for good, which only the node may do: nothing of it is left here.
func (w *worker) remove() {
	options := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0)), Preconditions: metav1.NewUIDPreconditions(string(w.pod.UID))}
	for w.ctx.Err() == nil {
		err := w.agent.config.Client.CoreV1().Pods(w.key.Namespace).Delete(w.ctx, w.key.Name, options)
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // another one of the same name is no business of ours
			return
		}
		if w.ctx.Err() == nil {
			w.agent.config.Log("%s: pod %s: delete it: %v", w.agent.name(), w.key, err)
		}
		pause(w.ctx, retryAfter)
	}
}
