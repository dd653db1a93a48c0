package config

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	jsonserializer "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// File is a configuration file as it was when it was read.
type File struct {
	Path string
	// Sum is of its content, so that one can tell whether a write changed anything.
	Sum [sha256.Size]byte
}

// readFile reads and decodes a file.
func readFile(path string) (c v1alpha1.KubeProxyConfiguration, f File, complaint error, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return c, File{}, nil, fmt.Errorf("read configuration: %w", err)
	}
	c, complaint, err = Decode(text)
	if err != nil {
		return c, File{}, nil, fmt.Errorf("read configuration %q: %w", path, err)
	}
	return c, File{Path: path, Sum: sha256.Sum256(text)}, complaint, nil
}

// Decode reads a KubeProxyConfiguration of version v1alpha1 from YAML or JSON; of several YAML documents it reads the
// first. It fills in no default.
//
// The complaint is about fields that are unknown or there twice. kube-proxy never stopped at those, and ConfigMaps
// carry them along from release to release, so they are no error.
func Decode(text []byte) (c v1alpha1.KubeProxyConfiguration, complaint error, err error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return c, nil, fmt.Errorf("register the kinds of %s: %w", v1alpha1.SchemeGroupVersion, err)
	}
	obj, kind, err := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer().Decode(text, nil, nil)
	if runtime.IsStrictDecodingError(err) {
		complaint = err
		obj, kind, err = serializer.NewCodecFactory(scheme).UniversalDeserializer().Decode(text, nil, nil)
	}
	if err != nil {
		return c, nil, fmt.Errorf("%w (wanted: apiVersion: %s, kind: KubeProxyConfiguration)", err, v1alpha1.SchemeGroupVersion)
	}
	file, ok := obj.(*v1alpha1.KubeProxyConfiguration)
	if !ok {
		return c, nil, fmt.Errorf("it is a %s, not a KubeProxyConfiguration", kind.Kind)
	}
	return *file, complaint, nil
}

// Written is a configuration as it is shown to others.
//
// Periods and masqueradeAll of modes that are not in force come out as zero, as from kube-proxy, which has one place
// for those of all modes, and portRange is gone. Read again, they become the defaults.
func Written(c v1alpha1.KubeProxyConfiguration) v1alpha1.KubeProxyConfiguration {
	c.APIVersion, c.Kind = v1alpha1.SchemeGroupVersion.String(), "KubeProxyConfiguration"
	c.IPVS.SyncPeriod.Duration, c.IPVS.MinSyncPeriod.Duration = 0, 0
	c.NFTables.SyncPeriod.Duration, c.NFTables.MinSyncPeriod.Duration = 0, 0
	c.NFTables.MasqueradeAll, c.PortRange = false, ""
	return c
}

// Encode returns a configuration, as it is written, as YAML.
func Encode(c v1alpha1.KubeProxyConfiguration) ([]byte, error) {
	c = Written(c)
	var out bytes.Buffer
	yaml := jsonserializer.NewSerializerWithOptions(jsonserializer.DefaultMetaFactory, nil, nil, jsonserializer.SerializerOptions{Yaml: true})
	if err := yaml.Encode(&c, &out); err != nil {
		return nil, fmt.Errorf("encode the configuration: %w", err)
	}
	return out.Bytes(), nil
}
