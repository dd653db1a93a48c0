package main

import (
	"fmt"
	"runtime"
)

// userAgent is what API servers note of this program: for audit policies and dashboards it is a kube-proxy, and behind
// that it says which program it really is.
func userAgent() string {
	return fmt.Sprintf("kube-proxy/%s (%s/%s) espalier/%s", kubernetesVersion(), runtime.GOOS, runtime.GOARCH, version)
}
