package controlplane

import (
	"fmt"
	"net/netip"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// local is where the API server is reached from its own host.
const local = "https://127.0.0.1:6443"

// URL is where a node reaches the API server.
func (p *Plane) URL() string {
	return "https://" + netip.AddrPortFrom(p.config.Addrs[0], Port).String()
}

// CA returns the certificate, PEM, by which clients know the API server.
func (p *Plane) CA() []byte { return p.ca.pem }

// Admin returns the access of an administrator, from the API server's own host. There is no limit on its rate, and what is
// typed travels in the cheapest format.
func (p *Plane) Admin() *rest.Config {
	return &rest.Config{
		Host:            local,
		ContentConfig:   rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON},
		TLSClientConfig: rest.TLSClientConfig{CAData: p.ca.pem, CertData: p.admin.cert, KeyData: p.admin.key},
		QPS:             -1,
	}
}

// kubeconfig returns the file by which a component of the control plane is a user.
func (p *Plane) kubeconfig(user string, groups ...string) ([]byte, error) {
	id, err := p.ca.client(user, groups...)
	if err != nil {
		return nil, err
	}
	text, err := clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"e2e": {Server: local, CertificateAuthorityData: p.ca.pem}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: id.cert, ClientKeyData: id.key}},
		Contexts:       map[string]*clientcmdapi.Context{"e2e": {Cluster: "e2e", AuthInfo: user}},
		CurrentContext: "e2e",
	})
	if err != nil {
		return nil, fmt.Errorf("write the kubeconfig of %s: %w", user, err)
	}
	return text, nil
}
