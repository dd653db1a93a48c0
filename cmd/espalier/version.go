package main

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	apiversion "k8s.io/apimachinery/pkg/version"

	"espalier/cmd/espalier/config"
)

// kubernetesVersion is what this program says when it is asked as kube-proxy: the release of Kubernetes that it stands
// in for, and behind the + which espalier it is. Semantic versioning ignores what is behind a +, so tools that compare
// versions of components find what they look for; distributions of Kubernetes do the same.
func kubernetesVersion() string {
	clean := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, version)
	return "v" + config.KubernetesVersion + "+espalier." + clean
}

// versionFlag is kube-proxy's --version: alone it prints the version, as "raw" more of it, and as vX.Y.Z it changes what
// is reported.
type versionFlag struct {
	print, raw bool
	reported   string
}

func (v *versionFlag) add(fs *pflag.FlagSet) {
	fs.Var(v, "version", "--version, --version=raw prints version information and quits; --version=vX.Y.Z... sets the reported version")
	fs.Lookup("version").NoOptDefVal = "true"
}

func (v *versionFlag) Set(s string) error {
	if s == "raw" {
		v.print, v.raw = true, true
		return nil
	}
	if strings.HasPrefix(s, "v") {
		ours := "v" + config.KubernetesVersion
		if rest, ok := strings.CutPrefix(s, ours); !ok || rest != "" && !strings.ContainsAny(rest[:1], "-+") {
			return fmt.Errorf("%q is another version than %s", s, ours)
		}
		v.reported = s
		return nil
	}
	on, err := strconv.ParseBool(s)
	v.print = on
	return err
}

func (v *versionFlag) String() string {
	switch {
	case v.reported != "":
		return v.reported
	case v.raw:
		return "raw"
	}
	return strconv.FormatBool(v.print)
}

func (v *versionFlag) Type() string { return "version" }

// text is what is printed.
func (v *versionFlag) text() string {
	reported := v.reported
	if reported == "" {
		reported = kubernetesVersion()
	}
	if !v.raw {
		return "Kubernetes " + reported
	}
	major, rest, _ := strings.Cut(config.KubernetesVersion, ".")
	minor, _, _ := strings.Cut(rest, ".")
	return fmt.Sprintf("%#v", apiversion.Info{
		Major: major, Minor: minor, GitVersion: reported,
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	})
}
