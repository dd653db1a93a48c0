package main

import (
	"testing"

	"github.com/spf13/pflag"
	clientfeatures "k8s.io/client-go/features"

	"espalier/cmd/espalier/config"
)

// defaults takes the gates that client-go has.
type defaults map[clientfeatures.Feature]clientfeatures.FeatureSpec

func (d defaults) Add(all map[clientfeatures.Feature]clientfeatures.FeatureSpec) error {
	for f, spec := range all {
		d[f] = spec
	}
	return nil
}

// A gate that client-go has and Kubernetes has not would panic.
func TestGatesOfClientGoAreAmongThoseOfKubernetes(t *testing.T) {
	all := defaults{}
	if err := clientfeatures.AddFeaturesToExistingFeatureGates(all); err != nil {
		t.Fatal(err)
	}
	if _, ok := all[clientfeatures.WatchListClient]; !ok {
		t.Fatalf("client-go has gates %v, and WatchListClient is not among them", all)
	}
	gates := clientGates{loaded(t).Gates()}
	for f, spec := range all {
		if got := gates.Enabled(f); got != spec.Default {
			t.Errorf("%s: %v, want client-go's default %v", f, got, spec.Default)
		}
	}
	if (clientGates{loaded(t, "--feature-gates=WatchListClient=false").Gates()}).Enabled(clientfeatures.WatchListClient) {
		t.Error("WatchListClient is on, although it was switched off")
	}
}

func loaded(t *testing.T, args ...string) *config.Loaded {
	t.Helper()
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags := config.NewFlags()
	flags.Add(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	l, err := flags.Load(fs)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
