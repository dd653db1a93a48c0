package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

// source are the flags that say where Services come from.
type source struct {
	kubeconfig string
	master     string
	manifests  string
	hostname   string
}

func (s *source) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&s.kubeconfig, "kubeconfig", "",
		"The kubeconfig file of the cluster.")
	fs.StringVar(&s.master, "master", "",
		"The URL of the API server, in place of the one in the kubeconfig file.")
	fs.StringVar(&s.manifests, "manifests", "",
		"Take Services, EndpointSlices, Endpoints and the Node from YAML or JSON files instead of a cluster: a file, a directory, or - for standard input.")
	fs.StringVar(&s.hostname, "hostname-override", "",
		"The name of this node's Node object. Default: the host name.")
}

// validate checks the flags and fills in the node's name.
func (s *source) validate() error {
	var errs []error
	if s.manifests != "" && (s.kubeconfig != "" || s.master != "") {
		errs = append(errs, errors.New("--manifests and --kubeconfig or --master exclude each other"))
	}
	if s.hostname == "" {
		host, err := os.Hostname()
		if err != nil {
			errs = append(errs, fmt.Errorf("find the host name: %w; give --hostname-override", err))
		}
		s.hostname = host
	}
	s.hostname = strings.ToLower(strings.TrimSpace(s.hostname))
	if s.hostname == "" {
		errs = append(errs, errors.New("--hostname-override: the name is empty"))
	}
	return errors.Join(errs...)
}
