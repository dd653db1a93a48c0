package config

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/component-base/featuregate"
)

//go:embed gates.txt
var gateList string

// The gates that mean something here. Those of logging are for component-base, those of clients for client-go.
var gatesWithEffect = []featuregate.Feature{
	allowServiceExternalIPs, "ComponentFlagz", "ComponentStatusz", "ContextualLogging", "LoggingAlphaOptions", "LoggingBetaOptions",
	"ClientsAllowCARotation", "ClientsAllowTLSCacheGC", "WatchListClient",
	"AllAlpha", "AllBeta", // switch some of these
}

const allowServiceExternalIPs featuregate.Feature = "AllowServiceExternalIPs"

// newGates returns all gates, each with its default.
func newGates() (featuregate.MutableFeatureGate, error) {
	gates := featuregate.NewFeatureGate()
	specs, needs := parseGates(gateList)
	err := gates.Add(specs)
	if err == nil {
		err = gates.AddDependencies(needs)
	}
	if err != nil {
		return nil, fmt.Errorf("register the feature gates of Kubernetes %s: %w", KubernetesVersion, err)
	}
	return gates, nil
}

// parseGates reads gates.txt, which is ours.
func parseGates(text string) (specs map[featuregate.Feature]featuregate.FeatureSpec, needs map[featuregate.Feature][]featuregate.Feature) {
	specs, needs = map[featuregate.Feature]featuregate.FeatureSpec{}, map[featuregate.Feature][]featuregate.Feature{}
	for line := range strings.Lines(text) {
		line, before, _ := strings.Cut(line, "<")
		words := strings.Fields(line)
		if len(words) < 3 || words[0] == "#" {
			continue
		}
		name := featuregate.Feature(words[0])
		spec := featuregate.FeatureSpec{Default: words[2] == "true", LockToDefault: slices.Contains(words[3:], "locked")}
		switch words[1] {
		case "ALPHA":
			spec.PreRelease = featuregate.Alpha
		case "BETA":
			spec.PreRelease = featuregate.Beta
		case "DEPRECATED":
			spec.PreRelease = featuregate.Deprecated
		}
		specs[name] = spec
		for _, other := range strings.Fields(before) {
			needs[name] = append(needs[name], featuregate.Feature(other))
		}
	}
	return specs, needs
}

// setGates sets the gates and returns those that nothing here asks for and that now differ from their default, sorted.
// A name that Kubernetes does not know, and a value that it does not admit, are errors: a typing error in a gate's
// name must not go unnoticed.
func setGates(gates featuregate.MutableFeatureGate, values map[string]bool) (inert []string, err error) {
	if err := gates.SetFromMap(values); err != nil {
		return nil, fmt.Errorf("featureGates (--feature-gates): %w", err)
	}
	defaults := gates.GetAll()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		f := featuregate.Feature(name)
		if !slices.Contains(gatesWithEffect, f) && defaults[f].Default != values[name] {
			inert = append(inert, name)
		}
	}
	return inert, nil
}
