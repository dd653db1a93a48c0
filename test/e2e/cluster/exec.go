package cluster

import (
	"context"
	"fmt"
	"os"
	"slices"

	"espalier/test/e2e/process"
)

// Diff returns how the rules of the node differ from those that the cluster asks for: empty if they do not. It runs
// "espalier diff" as "kubectl exec" would, in a container like that of the pod.
func (p *Proxy) Diff(ctx context.Context) (string, error) {
	var all string
	for _, family := range []string{"ipv4", "ipv6"} {
		text, code, err := p.exec(ctx, "diff", "--ip-family="+family)
		if err != nil {
			return "", err
		}
		if code > 1 {
			return "", fmt.Errorf("diff on %s: status %d: %s", p.node.Name, code, text)
		}
		if code == 1 {
			all += text
		}
	}
	return all, nil
}

// exec runs another command of the program, with the arguments that the pod gives to "run", and more.
func (p *Proxy) exec(ctx context.Context, command string, more ...string) (out string, code int, err error) {
	p.mu.Lock()
	w := p.workload
	p.mu.Unlock()
	spec, err := p.spec(w, w.pod().Containers[0])
	if err != nil {
		return "", 0, err
	}
	at := slices.Index(spec.Argv, "run")
	if at < 0 {
		return "", 0, fmt.Errorf("run %s on %s: %q is not our program", command, p.node.Name, spec.Argv)
	}
	spec.Argv = append(slices.Replace(slices.Clone(spec.Argv), at, at+1, command), more...)
	if spec.Root, err = os.MkdirTemp(p.node.dir, "exec-"); err != nil {
		return "", 0, err
	}
	defer os.Remove(spec.Root)
	cmd, err := spec.Command()
	if err != nil {
		return "", 0, err
	}
	log := &process.Log{}
	running, err := process.Start(command+" on "+p.node.Name, cmd, log, p.node.Do)
	if err != nil {
		return "", 0, err
	}
	select {
	case <-running.Ended():
		return log.Since(0), running.ExitCode(), nil
	case <-ctx.Done():
		running.Kill()
		return "", 0, fmt.Errorf("run %s on %s: %w; it said %q", command, p.node.Name, context.Cause(ctx), log.Since(0))
	}
}

// AwaitQuiet waits until the proxy has nothing more to write.
func (p *Proxy) AwaitQuiet(ctx context.Context) error {
	return Until(ctx, "the proxy of "+p.node.Name+" has written everything", func(ctx context.Context) error {
		age, err := p.Metric(ctx, "espalier_oldest_change_age_seconds", "")
		if err == nil && age > 0 {
			err = fmt.Errorf("something waits for %.1f s", age)
		}
		return err
	})
}
