package report

import (
	"embed"
	"html/template"
	"io"
	"time"
)

//go:embed page.html picture.svg parts.html
var templates embed.FS

// page is what the template shows.
type page struct {
	Report  Report
	Made    string
	Proxies []string
	Plots   []plot
	Groups  []section
}

// section is what is said about one size on one backend.
type section struct {
	Title   string
	Proxies []string
	Curves  []*curves
	Lines   [][]string
	Broken  []string
}

// WriteHTML prints a page that needs nothing else: no script, no font, no picture from elsewhere.
func (r Report) WriteHTML(w io.Writer) error {
	t, err := template.ParseFS(templates, "page.html", "parts.html")
	if err != nil {
		return err
	}
	p := page{Report: r, Made: r.Made.UTC().Format(time.DateOnly), Proxies: r.proxies(), Plots: r.plots()}
	for _, g := range r.groups() {
		p.Groups = append(p.Groups, r.section(g))
	}
	return t.Execute(w, p)
}

func (r Report) section(g group) section {
	s := section{Title: g.size.String() + ", iptables-" + g.backend, Lines: g.lines()}
	for _, run := range g.runs {
		s.Proxies = append(s.Proxies, run.Proxy)
		if run.Broken != "" {
			s.Broken = append(s.Broken, run.Proxy+": "+run.Broken)
		}
	}
	for _, c := range []*curves{
		r.distribution(g, "Endpoint change, idle", func(run Run) Spread { return run.Idle }),
		r.distribution(g, "Endpoint change, churn", func(run Run) Spread { return run.Busy }),
		r.distribution(g, "First packet to a Service", func(run Run) Spread { return run.Service }),
	} {
		if c != nil {
			s.Curves = append(s.Curves, c)
		}
	}
	return s
}
