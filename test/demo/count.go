package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// met reports whether the pod took part in the answer.
func (r result) met(pod string) bool { return slices.Contains(r.Answer.Path(), pod) }

func failures(results []result) int {
	n := 0
	for _, res := range results {
		if res.Err != "" {
			n++
		}
	}
	return n
}

// firstError gives an example of what went wrong, as the end of a sentence; empty: nothing did.
func firstError(results []result) string {
	for _, res := range results {
		if res.Err != "" {
			return because(errors.New(res.Err))
		}
	}
	return ""
}

// because renders an error as the end of a sentence.
func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// callers lists the source addresses that the answering pods saw.
func callers(results []result) []string {
	var seen []string
	for _, res := range results {
		if res.Answer != nil {
			seen = append(seen, res.Answer.Caller)
		}
	}
	slices.Sort(seen)
	return slices.Compact(seen)
}

// spread shows how the requests were shared out among the pods of each app, and promises that it was even.
func (s *show) spread(results []result, apps ...*app) error {
	for _, a := range apps {
		tally := map[string]int{}
		for _, p := range a.pods {
			tally[p.name] = 0
		}
		sum := 0
		for _, res := range results {
			for _, pod := range res.Answer.Path() {
				if strings.HasPrefix(pod, a.name+"-") {
					tally[pod]++
					sum++
				}
			}
		}
		s.out.say("%s:", a.name)
		s.out.chart(tally)
		if odd := uneven(tally, sum); odd != "" {
			return s.out.promise(false, "requests are shared out evenly among the pods of %s; %s", a.name, odd)
		}
	}
	return nil
}

// uneven names a pod whose share is further from an equal one than chance allows: five standard deviations,
// which chance exceeds once in two million times.
func uneven(tally map[string]int, sum int) string {
	share := 1 / float64(len(tally))
	mean := float64(sum) * share
	bound := 5 * math.Sqrt(mean*(1-share))
	for pod, n := range tally {
		if n == 0 || math.Abs(float64(n)-mean) > bound {
			return fmt.Sprintf("%s got %d, and %.0f give or take %.0f was expected", pod, n, mean, bound)
		}
	}
	return ""
}

// inhabitants lists the processes that are in one of the given network namespaces.
func inhabitants(spaces []uint64) ([]string, error) {
	entries, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, entry := range entries {
		var stat unix.Stat_t
		if unix.Stat(entry, &stat) != nil || !slices.Contains(spaces, stat.Ino) {
			continue // gone meanwhile, or not ours
		}
		process := filepath.Dir(filepath.Dir(entry))
		name, _ := os.ReadFile(filepath.Join(process, "comm"))
		found = append(found, fmt.Sprintf("%s (%s)", strings.TrimSpace(string(name)), filepath.Base(process)))
	}
	return found, nil
}
