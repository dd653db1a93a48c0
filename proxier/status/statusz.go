package status

import (
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"espalier/proxier/health"
	"espalier/proxier/model"
	"espalier/proxier/syncer"
)

//go:embed page.html
var pageText string

// maxProblems bounds the page.
const maxProblems = 200

const warning = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only."

// page is what the status page shows.
type page struct {
	Node, Version, Go string
	Started           time.Time
	Now               time.Time
	Paths             []string
	Families          []pageFamily
	Problems          []model.Problem
	MoreProblems      int
}

// pageFamily is one family: how it is, what is in the kernel, and what the last sync did.
type pageFamily struct {
	Label  string
	Health health.Family
	Good   time.Time // of the last successful sync; zero: there was none
	Last   syncer.Report
	Bad    time.Time
	Sums   sums
	Out    []pageQuarantined
}

// pageQuarantined is a Service that is left out.
type pageQuarantined struct {
	Service      string
	Since, Again time.Time
	Reason       string
}

// statusz shows the page: to browsers as HTML, to programs that ask for it as an object, to everybody else as text.
func (s *Status) statusz(w http.ResponseWriter, r *http.Request, paths []string) {
	p := s.page(paths)
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		zpage(w, r, "Statusz", p.object, func() { text(w, p.text()) })
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	// Parsed when somebody looks, which is seldom: a template takes memory.
	t := template.Must(template.New("page").Funcs(template.FuncMap{"ago": p.ago, "until": p.until}).Parse(pageText))
	_ = t.Execute(w, p) // the client may be gone
}

func (s *Status) page(paths []string) page {
	p := page{
		Node: s.facts.Node, Version: s.facts.Version, Go: runtime.Version(),
		Started: s.started, Now: time.Now(), Paths: slices.Sorted(slices.Values(paths)),
	}
	var states []health.Family
	if s.facts.Health != nil {
		states = s.facts.Health()
	}
	for _, f := range s.all() {
		one := f.page()
		one.Health.Healthy = true // as far as is known
		for _, h := range states {
			if h.Family == f.Family {
				one.Health = h
			}
		}
		p.Families = append(p.Families, one)
	}
	if s.facts.Problems != nil {
		p.Problems = s.facts.Problems()
	}
	if n := len(p.Problems); n > maxProblems {
		p.Problems, p.MoreProblems = p.Problems[:maxProblems], n-maxProblems
	}
	return p
}

func (f *Family) page() pageFamily {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := pageFamily{Label: f.label, Good: f.good, Bad: f.bad, Last: f.last, Sums: f.sums}
	for _, name := range slices.SortedFunc(maps.Keys(f.last.Quarantined), model.ServiceName.Compare) {
		q := f.last.Quarantined[name]
		p.Out = append(p.Out, pageQuarantined{Service: name.String(), Since: q.Since, Again: q.Again, Reason: q.Err.Error()})
	}
	return p
}

// Doing says how the family is, in one sentence.
func (p pageFamily) Doing() string {
	switch {
	case !p.Health.Healthy:
		return "overdue: the kernel lacks what was asked for too long ago"
	case !p.Bad.IsZero():
		return "the last sync failed; it will be tried again"
	case p.Good.IsZero():
		return "waiting for the first complete state of the cluster"
	case !p.Health.Pending.IsZero():
		return "changes are on their way into the kernel"
	}
	return "up to date"
}

// Kind is what the last sync was.
func (p pageFamily) Kind() string {
	if p.Last.Whole {
		return "whole"
	}
	return "step"
}

// ago says how long before the page was made something was.
func (p page) ago(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return p.Now.Sub(t).Round(time.Millisecond).String() + " ago"
}

// until says how long after the page was made something will be.
func (p page) until(t time.Time) string {
	if d := t.Sub(p.Now); d > 0 {
		return "in " + d.Round(time.Second).String()
	}
	return "now"
}

// text prints the page for terminals.
func (p page) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nespalier statusz\n%s\n\n", warning)
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "Started:\t%s\n", p.Started.Format(time.UnixDate))
	fmt.Fprintf(w, "Up:\t%s\n", p.Now.Sub(p.Started).Round(time.Second))
	fmt.Fprintf(w, "Go version:\t%s\n", p.Go)
	fmt.Fprintf(w, "Binary version:\t%s\n", p.Version)
	fmt.Fprintf(w, "Node:\t%s\n", p.Node)
	fmt.Fprintf(w, "Paths:\t%s\n", strings.Join(p.Paths, " "))
	for _, f := range p.Families {
		f.text(w, p)
	}
	_ = w.Flush() // into memory
	fmt.Fprintf(&b, "\nProblems of objects: %d\n", len(p.Problems)+p.MoreProblems)
	for _, problem := range p.Problems {
		fmt.Fprintf(&b, "  %s\n", problem)
	}
	if p.MoreProblems > 0 {
		fmt.Fprintf(&b, "  and %d more\n", p.MoreProblems)
	}
	return b.String()
}

func (p pageFamily) text(w io.Writer, whole page) {
	fmt.Fprintf(w, "\n%s: %s\n", p.Label, p.Doing())
	fmt.Fprintf(w, "  in the kernel\tServices: %d; rules: %d in nat, %d in filter\n", p.Last.Programmed, p.Last.Rules.Nat, p.Last.Rules.Filter)
	fmt.Fprintf(w, "  last good sync\t%s\n", whole.ago(p.Good))
	if !p.Health.Pending.IsZero() {
		fmt.Fprintf(w, "  oldest change that is missing\t%s\n", whole.ago(p.Health.Pending))
	}
	if p.Last.Err != nil {
		fmt.Fprintf(w, "  failing\tfirst %s: %v\n", whole.ago(p.Bad), p.Last.Err)
	}
	fmt.Fprintf(w, "  last sync\t%s, in %v: plan %v, read %v, write %v; %d chains written, %d deleted, %d jumps, %d COMMITs, %d bytes\n",
		p.Kind(), p.Last.Took, p.Last.Planning, p.Last.Reading, p.Last.Writing,
		p.Last.Written, p.Last.Deleted, p.Last.Jumps, p.Last.Input.Commits, p.Last.Input.Bytes)
	fmt.Fprintf(w, "  since the start\t%d syncs, %d of them whole, %d failed; %d COMMITs, %d bytes; others wrote %d times, repaired %d times\n",
		p.Sums.Syncs, p.Sums.Whole, p.Sums.Failed, p.Sums.Commits, p.Sums.Bytes, p.Sums.Foreign, p.Sums.Repairs)
	for _, q := range p.Out {
		fmt.Fprintf(w, "  left out\tService %s, first refused %s, tried again %s: %s\n", q.Service, whole.ago(q.Since), whole.until(q.Again), q.Reason)
	}
}

// flagz shows the flags.
func flagz(w http.ResponseWriter, r *http.Request, flags map[string]string) {
	object := func(version string) any { return flagzObject{newObject("Flagz", version), flags} }
	zpage(w, r, "Flagz", object, func() {
		var b strings.Builder
		fmt.Fprintf(&b, "\nespalier flagz\n%s\n\n", warning)
		for _, name := range slices.Sorted(maps.Keys(flags)) {
			fmt.Fprintf(&b, "%s=%s\n", name, flags[name])
		}
		text(w, b.String())
	})
}
