package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"espalier/proxier/ipproto"
	"espalier/proxier/iptables"
	"espalier/proxier/model"
	"espalier/proxier/ruleset"
	"espalier/proxier/syncer"
)

// A reporter tells the operator what changed: each problem once, failures when they begin and end, and at
// higher verbosity every sync. It is used by several goroutines.
type reporter struct {
	mu       sync.Mutex
	problems map[string][]model.Problem // by where they were found
	noticed  map[string]bool
	failing  map[ipproto.Family]time.Time // since when
	synced   map[ipproto.Family]bool      // at least once
	// repairs counts the times that rules of ours had to be put right.
	repairs int
}

func newReporter() *reporter {
	return &reporter{
		problems: map[string][]model.Problem{},
		noticed:  map[string]bool{},
		failing:  map[ipproto.Family]time.Time{},
		synced:   map[ipproto.Family]bool{},
	}
}

// notices logs each line once.
func (r *reporter) notices(lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range lines {
		if !r.noticed[l] {
			r.noticed[l] = true
			klog.InfoS("Note", "text", l)
		}
	}
}

// replaceProblems says which problems there are now in one place, an object say. Those that were not there
// before are logged; those that are gone would be logged again if they came back.
func (r *reporter) replaceProblems(place string, problems []model.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.problems[place]
	for i, p := range problems {
		if !slices.Contains(before, p) && !slices.Contains(problems[:i], p) {
			klog.InfoS("Problem", "object", p.Object, "problem", p.Text)
		}
	}
	if len(problems) == 0 {
		delete(r.problems, place)
		return
	}
	r.problems[place] = problems
}

// sync logs what a sync did.
func (r *reporter) sync(done syncer.Report) {
	r.replaceProblems("plan "+done.Family.String(), done.Problems)
	r.mu.Lock()
	defer r.mu.Unlock()
	if done.Err != nil {
		if _, failed := r.failing[done.Family]; !failed {
			r.failing[done.Family] = time.Now()
			klog.ErrorS(done.Err, "Cannot bring the rules up to date; will try again", "family", done.Family, "lockBusy", iptables.IsLockBusy(done.Err))
		} else {
			klog.V(2).ErrorS(done.Err, "Still cannot bring the rules up to date", "family", done.Family, "retryIn", done.Retry)
		}
		return
	}
	if since, failed := r.failing[done.Family]; failed {
		delete(r.failing, done.Family)
		klog.InfoS("The rules are up to date again", "family", done.Family, "after", time.Since(since).Round(time.Millisecond))
	}
	quarantine(done)
	if done.Foreign || done.Damaged {
		log := klog.V(2)
		if done.IsRepair() {
			r.repairs++
			log = klog.V(0)
		}
		log.InfoS("Somebody else wrote to the tables", "family", done.Family, "chainsRepaired", done.Written,
			"chainsRemoved", done.Deleted, "jumpsRepaired", done.Jumps, "chains", some(done.Repaired), "repairs", r.repairs)
	}
	for _, h := range done.Held {
		klog.InfoS("A rule of somebody else keeps an old chain", "family", done.Family, "chain", h.To, "in", h.From, "rule", h.Rule.Text(done.Family))
	}
	log := klog.V(2)
	if !r.synced[done.Family] {
		r.synced[done.Family] = true
		log = klog.V(0)
	}
	log.InfoS("Synced", "family", done.Family, "whole", done.Whole, "services", len(done.Services),
		"chainsWritten", done.Written, "chainsDeleted", done.Deleted, "jumpsInserted", done.Jumps,
		"commits", done.Input.Commits, "rules", done.Payload.Filter+done.Payload.Nat,
		"planning", done.Planning, "reading", done.Reading, "writing", done.Writing, "sinceChange", sinceChange(done.Since))
}

// some names the first few chains.
func some(chains []ruleset.Chain) string {
	const few = 5
	var names []string
	for _, c := range chains[:min(few, len(chains))] {
		names = append(names, c.String())
	}
	if more := len(chains) - few; more > 0 {
		names = append(names, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// quarantine logs which Services the kernel begins and ceases to refuse.
func quarantine(done syncer.Report) {
	for _, name := range done.LeftOut {
		q := done.Quarantined[name]
		klog.ErrorS(q.Err, "The kernel refuses the rules of a Service; it is left out, the others are programmed",
			"family", done.Family, "service", name, "nextTrial", q.Again.Format(time.TimeOnly))
	}
	for _, name := range done.TakenIn {
		klog.InfoS("A Service that the kernel refused is no longer left out", "family", done.Family, "service", name)
	}
}

func sinceChange(since time.Time) time.Duration {
	if since.IsZero() {
		return 0
	}
	return time.Since(since).Round(10 * time.Microsecond)
}

// all returns the problems that there are now, in order.
func (r *reporter) all() []model.Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	problems := slices.Concat(slices.Collect(maps.Values(r.problems))...)
	slices.SortFunc(problems, func(a, b model.Problem) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(problems)
}
