package controlplane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"time"

	"k8s.io/client-go/kubernetes"

	"espalier/test/e2e/process"
)

// Config says where the control plane runs.
type Config struct {
	// Addrs are addresses of this network namespace on which nodes reach the API server. The first is advertised: it is
	// the endpoint of default/kubernetes.
	Addrs []netip.Addr
	// Dir is an empty folder for certificates and the data of etcd.
	Dir string
}

// Plane is a control plane.
type Plane struct {
	// Client is an administrator's, from the API server's own host.
	Client kubernetes.Interface

	config  Config
	ca      *authority
	admin   pair
	running map[component]*process.Process
	logs    map[component]*process.Log
}

// grace is how long a component may take to obey SIGTERM.
const grace = 20 * time.Second

// Start starts the control plane and waits until all of it is ready.
func Start(ctx context.Context, c Config) (*Plane, error) {
	p := &Plane{config: c, running: map[component]*process.Process{}, logs: map[component]*process.Log{}}
	if err := p.prepare(); err != nil {
		return nil, fmt.Errorf("prepare the control plane: %w", err)
	}
	for _, c := range components {
		p.logs[c] = &process.Log{Also: process.Keep(string(c))}
		if err := p.start(ctx, c); err != nil {
			p.Close()
			return nil, err
		}
	}
	if err := p.awaitDefaults(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// prepare writes all files that the components read.
func (p *Plane) prepare() error {
	if err := os.MkdirAll(p.config.Dir, 0o700); err != nil {
		return err
	}
	var err error
	if p.ca, err = newAuthority(); err != nil {
		return err
	}
	if p.admin, err = p.ca.client("admin", "system:masters"); err != nil {
		return err
	}
	if p.Client, err = kubernetes.NewForConfig(p.Admin()); err != nil {
		return err
	}
	server, err := p.ca.server("kube-apiserver", append(slices.Clone(p.config.Addrs), netip.MustParseAddr("127.0.0.1"), ServiceIP)...)
	if err != nil {
		return err
	}
	files := map[string][]byte{"ca.crt": p.ca.pem, "server.crt": server.cert, "server.key": server.key}
	if files["accounts.key"], files["accounts.pub"], err = accountKeys(); err != nil {
		return err
	}
	for _, c := range []component{controller, scheduler} {
		if files[string(c)+".kubeconfig"], err = p.kubeconfig("system:" + string(c)); err != nil {
			return err
		}
	}
	return writeFiles(p.config.Dir, files)
}

// accountKeys returns the keys by which tokens of ServiceAccounts are signed and checked.
func accountKeys() (private, public []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if private, err = encodeKey(key); err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	return private, encode("PUBLIC KEY", der), err
}

// start starts a component and waits until it is ready.
func (p *Plane) start(ctx context.Context, c component) error {
	path, err := Binary(string(c))
	if err != nil {
		return err
	}
	cmd := exec.Command(path, p.arguments(c)...)
	cmd.Dir = p.config.Dir
	cmd.Env = append(os.Environ(), "GOGC=400") // rather memory than time: the machine may have two cores
	if p.running[c], err = process.Start(string(c), cmd, p.logs[c], nil); err != nil {
		return err
	}
	if err := p.awaitReady(ctx, c); err != nil {
		return fmt.Errorf("%w; its log ends with\n%s", err, p.logs[c].Tail(20))
	}
	return nil
}

// KillAPIServer takes the API server away by SIGKILL.
func (p *Plane) KillAPIServer() {
	p.running[apiServer].Kill()
}

// StartAPIServer brings it back, and returns when it is ready.
func (p *Plane) StartAPIServer(ctx context.Context) error { return p.start(ctx, apiServer) }

// Serves reports whether the API server runs.
func (p *Plane) Serves() bool {
	select {
	case <-p.running[apiServer].Ended():
		return false
	default:
		return true
	}
}

// Restart restarts the controller manager and the scheduler, which end when they cannot reach the API server for long.
func (p *Plane) Restart(ctx context.Context) error {
	var errs []error
	for _, c := range []component{controller, scheduler} {
		errs = append(errs, p.running[c].Stop(grace), p.start(ctx, c))
	}
	return errors.Join(errs...)
}

// Logs returns the end of each component's log.
func (p *Plane) Logs(lines int) string {
	var all string
	for _, c := range components {
		if log := p.logs[c]; log != nil {
			all += fmt.Sprintf("--- the log of %s ends with\n%s", c, log.Tail(lines))
		}
	}
	return all
}

// Close ends all components at once: nobody needs what etcd holds any more.
func (p *Plane) Close() {
	for _, c := range slices.Backward(components) {
		if r := p.running[c]; r != nil {
			r.Kill()
		}
	}
}
