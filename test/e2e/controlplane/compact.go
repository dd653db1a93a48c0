package controlplane

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Compact makes etcd forget what was before now: a watch that resumes from there gets 410 Gone. It returns the revision
// of now. The API server may be away.
func (p *Plane) Compact(ctx context.Context) (revision string, err error) {
	// A key that nobody reads, so that now is later than everything that the API server has told anybody.
	var put struct{ Header struct{ Revision string } }
	if err := askEtcd(ctx, "put", map[string]any{"key": []byte("/e2e"), "value": []byte("now")}, &put); err != nil {
		return "", err
	}
	revision = put.Header.Revision
	return revision, askEtcd(ctx, "compaction", map[string]any{"revision": revision, "physical": true}, &struct{}{})
}

// askEtcd calls a method of etcd's KV service through its JSON gateway.
func askEtcd(ctx context.Context, method string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, etcdClients+"/v3/kv/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r, err := probes.Do(q)
	if err != nil {
		return fmt.Errorf("etcd: %s: %w", method, err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("etcd: %s: %s", method, r.Status)
	}
	if err := json.NewDecoder(r.Body).Decode(answer); err != nil {
		return fmt.Errorf("etcd: %s: read the answer: %w", method, err)
	}
	return nil
}
