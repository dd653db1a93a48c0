package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// account is where a container finds the token of its ServiceAccount.
const account = "/var/run/secrets/kubernetes.io/serviceaccount"

// writeAccount asks for a token of the workload's ServiceAccount and writes what a kubelet writes for a container.
func (c *Cluster) writeAccount(ctx context.Context, w *Workload, dir string) error {
	namespace, name := w.Daemon.Namespace, w.pod().ServiceAccountName
	answer, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(3600))}}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("ask for a token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return writeFolder(dir, map[string]string{"token": answer.Status.Token, "ca.crt": string(c.Plane.CA()), "namespace": namespace})
}

// writeFolder makes a folder with files.
func writeFolder(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
