package e2e

import (
	_ "github.com/google/go-cmp/cmp"
	_ "github.com/vishvananda/netlink"
	_ "golang.org/x/sync/errgroup"
	_ "k8s.io/client-go/informers"
	_ "k8s.io/client-go/kubernetes"
	_ "sigs.k8s.io/yaml"

	_ "espalier/test/netns/lab"
)
