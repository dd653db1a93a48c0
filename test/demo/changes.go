package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// pace is the time between two requests of the steady traffic, each of which crosses three Services.
const pace = 5 * time.Millisecond

// scaleUp starts the traffic and adds a pod.
func (s *show) scaleUp(ctx context.Context) error {
	backend := s.app("backend")
	s.out.step("Traffic flows, and backend grows from %d pods to %d", len(backend.pods), len(backend.pods)+1)
	var err error
	s.out.command(s.site.client, "curl %s   # %d times a second, until the end", s.nodeURL(), time.Second/pace)
	if s.traffic, err = startTraffic(s.site.client, s.nodeURL(), pace); err != nil {
		return err
	}
	if err := s.traffic.flow(ctx, 100); err != nil {
		return err
	}
	mark := s.traffic.count()
	p, err := s.cluster.startPod(ctx, backend)
	if err != nil {
		return err
	}
	published := time.Now()
	s.out.say("%s is ready and published", p.name)
	first, err := s.traffic.await(ctx, mark, "a request that "+p.name+" answered", func(res result) bool { return res.met(p.name) })
	if err != nil {
		return err
	}
	s.out.say("%s answered a request sent %s later", p.name, max(0, first.At.Sub(published)).Round(time.Millisecond))
	settled := s.traffic.count()
	if err := s.traffic.flow(ctx, 400); err != nil {
		return err
	}
	results, _ := s.traffic.since(settled)
	if err := s.spread(results, backend); err != nil {
		return err
	}
	return s.lossless(mark)
}

// losePod deletes a pod under traffic; its Deployment replaces it.
func (s *show) losePod(ctx context.Context) error {
	backend := s.app("backend")
	victim := backend.pods[0]
	s.out.step("Traffic flows, and pod %s is deleted", victim.name)
	mark, deleted := s.traffic.count(), time.Now()
	s.out.say("%s is published as terminating, serves on for %s (its preStop hook), then gets SIGTERM", victim.name, backend.preStop())
	replacement, err := s.cluster.deletePod(ctx, backend, victim)
	if err != nil {
		return err
	}
	gone := s.traffic.count()
	s.out.say("%s is gone, %s is there in its place", victim.name, replacement.name)
	if err := s.traffic.flow(ctx, 400); err != nil {
		return err
	}
	results, _ := s.traffic.since(mark)
	last := 0 * time.Second
	for _, res := range results {
		if res.met(victim.name) {
			last = max(last, res.At.Sub(deleted))
		}
	}
	if err := s.out.promise(last < backend.preStop(), "the last request that %s got was sent %s after its deletion", victim.name, last.Round(time.Millisecond)); err != nil {
		return err
	}
	results, _ = s.traffic.since(gone)
	if err := s.spread(results, backend); err != nil {
		return err
	}
	return s.lossless(mark)
}

// stopEspalier ends espalier; rules and traffic stay.
func (s *show) stopEspalier(ctx context.Context) error {
	s.out.step("espalier gets SIGTERM, and leaves the rules where they are")
	before, err := s.site.savedRules()
	if err != nil {
		return err
	}
	mark, begun := s.traffic.count(), time.Now()
	err = s.proxy.terminate(patience)
	s.proxy = nil
	if err := s.out.promise(err == nil, "espalier ended cleanly in %s%s", since(begun), because(err)); err != nil {
		return err
	}
	if err := s.traffic.flow(ctx, 100); err != nil {
		return err
	}
	after, err := s.site.savedRules()
	if err != nil {
		return err
	}
	if err := s.out.promise(ours(after) > 0 && slices.Equal(before, after), "%d rules before, the same %d rules after", ours(before), ours(after)); err != nil {
		return err
	}
	return s.lossless(mark)
}

// restartEspalier starts it again: it finds its rules, and what has changed meanwhile is all that changes.
func (s *show) restartEspalier(ctx context.Context) error {
	database := s.app("database")
	s.out.step("espalier starts again, and finds a pod that came while it was away")
	mark := s.traffic.count()
	p, err := s.cluster.startPod(ctx, database)
	if err != nil {
		return err
	}
	if err := s.launch(); err != nil {
		return err
	}
	if _, err := s.traffic.await(ctx, mark, "a request that "+p.name+" answered", func(res result) bool { return res.met(p.name) }); err != nil {
		return err
	}
	s.out.say("%s answers", p.name)
	return s.lossless(mark)
}

// cleanUp takes the rules away, for those who leave.
func (s *show) cleanUp(context.Context) error {
	s.out.step("Whoever leaves takes the rules along")
	err := s.proxy.terminate(patience)
	s.proxy = nil
	if err != nil {
		return err
	}
	s.out.command(s.site.node, "espalier cleanup")
	if text, err := s.site.node.command(s.cfg.espalier, "cleanup").CombinedOutput(); err != nil {
		return fmt.Errorf("espalier cleanup: %w: %s", err, text)
	}
	left, err := s.site.savedRules()
	if err != nil {
		return err
	}
	return s.out.promise(ours(left) == 0, "%d rules of Services are left (KUBE-FIREWALL stays, as it is the kubelet's too)", ours(left))
}

// lossless promises that no request since mark has failed.
func (s *show) lossless(mark int) error {
	results, _ := s.traffic.since(mark)
	return s.out.promise(failures(results) == 0, "%d requests meanwhile: %d lost%s", len(results), failures(results), firstError(results))
}
