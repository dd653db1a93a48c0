package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// buildSite makes the machines that are there before the cluster is.
func (s *show) buildSite(ctx context.Context) error {
	s.out.step("A node, and a client that is not part of the cluster, each in a network namespace")
	var err error
	if s.site, err = buildSite(ctx); err != nil {
		return err
	}
	s.out.say("%-12s %-15s routes; its pods live in %s", nodeName, nodeAddr.Addr(), podRange)
	s.out.say("%-12s %-15s knows the node's address, and nothing of pods and Services", "client", clientAddr.Addr())
	return nil
}

// openShop runs the Deployments: each pod is an HTTP server in a namespace of its own.
func (s *show) openShop(ctx context.Context) error {
	s.out.step("The web shop: three Deployments, three Services, one HTTP server a pod")
	apps, err := readShop(s.manifests())
	if err != nil {
		return err
	}
	s.cluster = &cluster{site: s.site, apps: apps, dir: s.manifests()}
	if err := s.cluster.publishNode(); err != nil {
		return err
	}
	for _, a := range apps {
		service := fmt.Sprintf("Service %s %s", a.name, a.clusterIP())
		if a.nodePort() != 0 {
			service += fmt.Sprintf(", node port %d", a.nodePort())
		}
		s.out.say("%s", service)
		for range *a.deployment.Spec.Replicas {
			p, err := s.cluster.startPod(ctx, a)
			if err != nil {
				return err
			}
			s.out.say("  %-12s %s", p.name, p.addr)
		}
	}
	s.out.say("A page needs all three: frontend calls the Service backend, backend the Service database.")
	s.out.say("Manifests, and the EndpointSlices and the Node that a cluster would add: %s", s.manifests())
	res, err := apps[0].pods[0].try(ctx, s.clusterURL("backend"), 200*time.Millisecond)
	if err != nil {
		return err
	}
	return s.out.promise(res.Err != "", "so far the cluster IPs lead nowhere")
}

// launch starts espalier on the node as a user would.
func (s *show) launch() error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own descriptor
	args := []string{
		"run", "--manifests", s.manifests(), "--hostname-override", nodeName,
		"--cluster-cidr", clusterCIDR, "--iptables-backend", s.cfg.backend, "-v", "2",
		"--conntrack-max-per-core", "0", // the size of the table is the machine's
	}
	cmd := s.site.node.command(s.cfg.espalier, args...)
	cmd.Stderr = log
	s.out.command(s.site.node, "espalier run --manifests %s --hostname-override %s --cluster-cidr %s --iptables-backend %s --conntrack-max-per-core 0", s.manifests(), nodeName, clusterCIDR, s.cfg.backend)
	s.proxy, err = spawn("espalier", cmd, nil)
	return err
}

// startEspalier waits until the first page comes through three Services.
func (s *show) startEspalier(ctx context.Context) error {
	s.out.step("espalier turns the files into rules")
	begun := time.Now()
	if err := s.launch(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("espalier serves nothing after %s", patience))
	defer cancel()
	// Nothing tells when rules are there but that they work. A packet that comes too early is lost, so the
	// first tries do not wait long for an answer.
	for timeout := 20 * time.Millisecond; ; timeout = min(2*timeout, time.Second) {
		res, err := s.site.node.try(ctx, s.clusterURL("frontend"), timeout)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		case res.Err == "":
			return s.out.promise(true, "%s after the start, the first page came through all three Services: %s", since(begun), strings.Join(res.Answer.Path(), " > "))
		}
		select {
		case <-s.proxy.ended:
			return fmt.Errorf("espalier ended at once%s", because(s.proxy.err))
		default:
		}
	}
}

// sendRequests asks from everywhere and shows who answered, and whom the pods saw asking.
func (s *show) sendRequests(ctx context.Context) error {
	s.out.step("Requests, each a connection of its own")
	frontend, backend := s.app("frontend"), s.app("backend")
	pod, member, node := frontend.pods[0].machine, backend.pods[0].machine, s.site.node
	own := func(m *machine) []string { return []string{m.addr.String()} }
	both := func(m *machine) []string { return []string{gateway.Addr().String(), m.addr.String()} }
	masqueraded := []string{gateway.Addr().String()}
	direct := fmt.Sprintf("http://%s:%d/", s.app("database").pods[0].addr, 5432)
	for _, way := range []struct {
		from  *machine
		what  string
		url   string
		count int
		seen  []string // the source addresses that the pods must see
	}{
		{pod, "a pod, without any Service", direct, 20, own(pod)},
		{pod, "a pod, to a cluster IP", s.clusterURL("backend"), 150, own(pod)},
		{member, "a pod, to its own Service; what comes back to itself is masqueraded", s.clusterURL("backend"), 60, both(member)},
		{node, "the node, to a cluster IP", s.clusterURL("frontend"), 50, masqueraded},
		{s.site.client, "the client, to the node port", s.nodeURL(), 300, masqueraded},
	} {
		s.out.command(way.from, "curl %s   # %s", way.url, way.what)
		res, err := way.from.ask(ctx, way.count, way.url)
		if err != nil {
			return err
		}
		seen := callers(res)
		if err := s.out.promise(failures(res) == 0 && len(res) == way.count, "%d of %d answered, seen as coming from %s%s", len(res)-failures(res), way.count, strings.Join(seen, " and "), firstError(res)); err != nil {
			return err
		}
		if !slices.Equal(seen, way.seen) {
			return s.out.promise(false, "the pods saw them come from %s", strings.Join(way.seen, " and "))
		}
		if way.from == s.site.client {
			return s.spread(res, s.cluster.apps...)
		}
	}
	return nil
}

// showRules draws what the kernel does for one Service.
func (s *show) showRules(context.Context) error {
	a := s.app("frontend")
	s.out.step("The rules of Service %s/%s in the kernel (nat table)", a.service.Namespace, a.name)
	saved, err := s.site.savedRules()
	if err != nil {
		return err
	}
	front := a.clusterIP()
	lines := ruleTree(saved, regexp.MustCompile(fmt.Sprintf(`-d %s/32 .*--dport %d |--dport %d `, regexp.QuoteMeta(front.Addr().String()), front.Port(), a.nodePort())))
	s.out.detail("KUBE-SERVICES")
	for _, line := range lines {
		s.out.detail(line)
	}
	return s.out.promise(len(lines) > 0, "%d rules on the node, for all three Services", ours(saved))
}

// balance ends the traffic and counts what was lost.
func (s *show) balance(context.Context) error {
	s.out.step("The balance")
	results, err := s.traffic.stop()
	s.traffic = nil
	if err != nil {
		return err
	}
	if err := s.out.promise(failures(results) == 0, "%d requests while the shop changed: %d lost%s", len(results), failures(results), firstError(results)); err != nil {
		return err
	}
	return s.out.promise(time.Since(s.began) < time.Minute, "all of this in %s", since(s.began))
}

func (s *show) clusterURL(app string) string {
	return fmt.Sprintf("http://%s/", s.app(app).clusterIP())
}

func (s *show) nodeURL() string {
	return fmt.Sprintf("http://%s:%d/", nodeAddr.Addr(), s.app("frontend").nodePort())
}

// since rounds to what a human reads.
func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }
