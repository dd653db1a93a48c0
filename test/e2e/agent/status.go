package agent

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status is what there is to report of the pod: what others have written stays.
func (w *worker) status() corev1.PodStatus {
	s := *w.pod.Status.DeepCopy()
	w.addresses(&s)
	s.StartTime = &w.began
	s.Phase = w.phase()
	s.ContainerStatuses = nil
	ready := true
	for _, c := range w.containers {
		cs := w.containerStatus(c)
		ready = ready && cs.Ready
		s.ContainerStatuses = append(s.ContainerStatuses, cs)
	}
	w.condition(corev1.PodReadyToStartContainers, w.network != nil || w.pod.Spec.HostNetwork, "")
	w.condition(corev1.PodInitialized, true, "")
	reason := "ContainersNotReady"
	if s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed {
		reason = "PodCompleted"
	}
	w.condition(corev1.ContainersReady, ready, reason)
	w.condition(corev1.PodReady, ready && w.gatesOpen(), reason)
	s.Conditions = slices.DeleteFunc(s.Conditions, func(o corev1.PodCondition) bool {
		return slices.ContainsFunc(w.conditions, func(own corev1.PodCondition) bool { return own.Type == o.Type })
	})
	s.Conditions = append(s.Conditions, w.conditions...)
	return s
}

// addresses says where the pod is.
func (w *worker) addresses(s *corev1.PodStatus) {
	node := w.agent.config.Node
	own := node.Addrs
	if w.network != nil {
		own = w.network.Addrs
	}
	s.HostIP, s.HostIPs = node.Addrs[0].String(), nil
	for _, a := range node.Addrs {
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: a.String()})
	}
	s.PodIP, s.PodIPs = own[0].String(), nil
	for _, a := range own {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: a.String()})
	}
}

// phase is Running unless all containers are over, for good.
func (w *worker) phase() corev1.PodPhase {
	if len(w.containers) == 0 || slices.ContainsFunc(w.containers, func(c *container) bool { return c.ends == 0 && c.proc == nil && !c.over }) {
		return corev1.PodPending
	}
	if !w.isOver() {
		return corev1.PodRunning
	}
	if slices.ContainsFunc(w.containers, func(c *container) bool { return c.last == nil || c.last.ExitCode != 0 }) {
		return corev1.PodFailed
	}
	return corev1.PodSucceeded
}

func (w *worker) containerStatus(c *container) corev1.ContainerStatus {
	s := corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: "e2e://" + c.spec.Image, ContainerID: w.containerID(c),
		Ready: c.ready, Started: new(c.proc != nil), RestartCount: int32(c.ends),
	}
	switch {
	case c.proc != nil:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: c.began}
		s.LastTerminationState.Terminated = c.last
	case c.over && c.last != nil:
		s.State.Terminated = c.last
		s.RestartCount = int32(c.ends - 1)
	default:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: c.waiting, Message: c.message}
		s.LastTerminationState.Terminated = c.last
		s.RestartCount = int32(max(c.ends-1, 0))
	}
	return s
}

func (w *worker) containerID(c *container) string {
	if c.id == 0 {
		return ""
	}
	return fmt.Sprintf("e2e://%s/%s/%d", w.pod.UID, c.spec.Name, c.id)
}

// condition notes how one of our conditions is, and since when.
func (w *worker) condition(of corev1.PodConditionType, true bool, reason string) {
	now := corev1.PodCondition{Type: of, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}
	if !true {
		now.Status, now.Reason = corev1.ConditionFalse, reason
	}
	i := slices.IndexFunc(w.conditions, func(c corev1.PodCondition) bool { return c.Type == of })
	if i < 0 {
		w.conditions = append(w.conditions, now)
		return
	}
	if old := w.conditions[i]; old.Status == now.Status {
		now.LastTransitionTime = old.LastTransitionTime
	}
	w.conditions[i] = now
}

// gatesOpen reports whether what others have to say about the pod's readiness is good.
func (w *worker) gatesOpen() bool {
	for _, gate := range w.pod.Spec.ReadinessGates {
		open := slices.ContainsFunc(w.pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue
		})
		if !open {
			return false
		}
	}
	return true
}
