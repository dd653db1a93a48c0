package main

import (
	clientfeatures "k8s.io/client-go/features"
	"k8s.io/component-base/featuregate"
)

// clientGates are the feature gates of the command line and the file, for client-go. By itself it takes its gates from the
// environment (KUBE_FEATURE_WatchListClient and so on), which kube-proxy does not look at.
type clientGates struct {
	gates featuregate.FeatureGate
}

// Enabled is asked for gates of client-go, all of which Kubernetes has, too.
func (c clientGates) Enabled(f clientfeatures.Feature) bool {
	return c.gates.Enabled(featuregate.Feature(f))
}
