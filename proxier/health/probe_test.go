package health

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"espalier/proxier/ipproto"
)

// times stand for a time in a body: "NOW" for that of the answer, "OLD" for another one.
var times = regexp.MustCompile(`"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))"`)

func abstract(t *testing.T, body string) string {
	t.Helper()
	var now struct{ CurrentTime string }
	if err := json.Unmarshal([]byte(body), &now); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return times.ReplaceAllStringFunc(body, func(text string) string {
		if text == `"`+now.CurrentTime+`"` {
			return "NOW"
		}
		return "OLD"
	})
}

func TestProbes(t *testing.T) {
	const (
		good = `{"lastUpdated":OLD,"healthy":true}`
		bad  = `{"lastUpdated":OLD,"healthy":false}`
	)
	failing := func(p *Progress) { p.Done(errors.New("refused")) }
	for _, test := range []struct {
		name          string
		families      []ipproto.Family
		overdue       bool // of IPv4
		eligible      bool
		healthz       int
		healthzBody   string
		livez         int
		livezBody     string
		beforeAnswers func(*Progress)
	}{
		{
			name: "no family was started", eligible: true,
			healthz: 200, healthzBody: `{"lastUpdated":NOW,"currentTime":NOW,"nodeEligible":true,"healthy":true}`,
			livez: 200, livezBody: `{"lastUpdated":NOW,"currentTime":NOW,"healthy":true}`,
		},
		{
			name: "all is well", families: ipproto.Families[:], eligible: true,
			healthz: 200, healthzBody: `{"lastUpdated":NOW,"currentTime":NOW,"nodeEligible":true,"healthy":true,"status":{"IPv4":` + good + `,"IPv6":` + good + `}}`,
			livez: 200, livezBody: `{"lastUpdated":NOW,"currentTime":NOW,"healthy":true,"status":{"IPv4":` + good + `,"IPv6":` + good + `}}`,
		},
		{
			name: "the node leaves, or is unknown", families: []ipproto.Family{ipproto.IPv6},
			healthz: 503, healthzBody: `{"lastUpdated":OLD,"currentTime":NOW,"nodeEligible":false,"healthy":true,"status":{"IPv6":` + good + `}}`,
			livez: 200, livezBody: `{"lastUpdated":NOW,"currentTime":NOW,"healthy":true,"status":{"IPv6":` + good + `}}`,
		},
		{
			name: "a family is overdue", families: ipproto.Families[:], overdue: true, eligible: true,
			healthz: 503, healthzBody: `{"lastUpdated":OLD,"currentTime":NOW,"nodeEligible":true,"healthy":false,"status":{"IPv4":` + bad + `,"IPv6":` + good + `}}`,
			livez: 503, livezBody: `{"lastUpdated":OLD,"currentTime":NOW,"healthy":false,"status":{"IPv4":` + bad + `,"IPv6":` + good + `}}`,
			beforeAnswers: failing,
		},
		{
			name: "both", families: []ipproto.Family{ipproto.IPv4}, overdue: true,
			healthz: 503, healthzBody: `{"lastUpdated":OLD,"currentTime":NOW,"nodeEligible":false,"healthy":false,"status":{"IPv4":` + bad + `}}`,
			livez: 503, livezBody: `{"lastUpdated":OLD,"currentTime":NOW,"healthy":false,"status":{"IPv4":` + bad + `}}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			state := NewState(time.Minute)
			for _, f := range test.families {
				p := state.Start(f, func() (since time.Time) {
					if test.overdue && f == ipproto.IPv4 {
						since = time.Now().Add(-2 * time.Minute)
					}
					return since
				})
				if test.beforeAnswers != nil && f == ipproto.IPv4 {
					test.beforeAnswers(p)
				}
			}
			var answered []string
			probes := Probes{State: state, Eligible: func() bool { return test.eligible }, Answered: func(path string, code int) {
				answered = append(answered, path+" "+http.StatusText(code))
			}}
			server := httptest.NewServer(probes.Handler())
			defer server.Close()
			check(t, server.URL+Healthz, test.healthz, test.healthzBody)
			check(t, server.URL+Livez, test.livez, test.livezBody)
			if diff := cmp.Diff([]string{"/healthz " + http.StatusText(test.healthz), "/livez " + http.StatusText(test.livez)}, answered); diff != "" {
				t.Errorf("counted answers (-want +got):\n%s", diff)
			}
		})
	}
}

func check(t *testing.T, url string, code int, body string) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != code {
		t.Errorf("%s: status %d, want %d", url, res.StatusCode, code)
	}
	if diff := cmp.Diff(body, abstract(t, string(text))); diff != "" {
		t.Errorf("%s (-want +got):\n%s", url, diff)
	}
	for name, want := range map[string]string{"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"} {
		if got := res.Header.Get(name); got != want {
			t.Errorf("%s: %s is %q, want %q", url, name, got, want)
		}
	}
}

func TestProbesAtOtherPathsAreNotAnswered(t *testing.T) {
	probes := Probes{State: NewState(time.Minute), Eligible: func() bool { return true }, Answered: func(string, int) {}}
	for path, want := range map[string]int{"/": 404, "/readyz": 404, "/healthz/": 404, "/livez/x": 404, "/healthz": 200} {
		w := httptest.NewRecorder()
		probes.Handler().ServeHTTP(w, httptest.NewRequest("POST", path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
