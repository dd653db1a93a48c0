package status

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"espalier/proxier/ipproto"
	"espalier/proxier/model"
	"espalier/proxier/syncer"
)

// known returns a Status that was told of so many Services.
func known(services int) (*Status, *Family) {
	all := map[model.ServiceName]model.Entry{}
	for i := range services {
		name := model.ServiceName{Namespace: "shop", Name: fmt.Sprintf("web-%d", i)}
		all[name] = model.Entry{Service: &model.Service{Name: name, InternalLocal: true}}
	}
	s := New(Facts{})
	f := s.Start(ipproto.IPv4, waiting(Waiting{}))
	f.Report(syncer.Report{Whole: true, Services: all})
	return s, f
}

// BenchmarkStep is what a change of one Service costs to be shown, in clusters of several sizes.
func BenchmarkStep(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			_, f := known(n)
			name := model.ServiceName{Namespace: "shop", Name: "web-7"}
			step := good()
			step.Whole, step.Services = false, map[model.ServiceName]model.Entry{name: {Service: &model.Service{Name: name}}}
			b.ReportAllocs()
			for b.Loop() {
				f.Report(step)
			}
		})
	}
}

// BenchmarkScrape is what a scrape costs, in clusters of several sizes.
func BenchmarkScrape(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprintf("services=%d", n), func(b *testing.B) {
			s, _ := known(n)
			h := s.Handler(Pages{})
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
				b.ReportMetric(float64(w.Body.Len()), "scrape-bytes/op")
			}
		})
	}
}
