package health

import (
	"encoding/json"
	"net/http"
	"time"

	"espalier/proxier/ipproto"
)

// The paths that probes ask.
const (
	// Healthz is for load balancers of the cluster: may they send connections here?
	Healthz = "/healthz"
	// Livez is for the kubelet: should the process be restarted? That the machine is about to be removed is no reason.
	Livez = "/livez"
)

// Probes answers the probes of a whole node. Fill in all fields.
type Probes struct {
	State *State
	// Eligible reports whether load balancers may use the node: its object is known, and nobody is about to remove it.
	Eligible func() bool
	// Answered is called after each answer.
	Answered func(path string, code int)
}

// report is the body, with the field names and the order that probes know from kube-proxy (kubernetes:
// pkg/proxy/healthcheck/proxy_health.go).
type report struct {
	LastUpdated  time.Time     `json:"lastUpdated"`
	CurrentTime  time.Time     `json:"currentTime"`
	NodeEligible *bool         `json:"nodeEligible,omitempty"`
	Healthy      bool          `json:"healthy"`
	Status       *familyStatus `json:"status,omitempty"`
}

type familyStatus struct {
	IPv4 *status `json:"IPv4,omitempty"`
	IPv6 *status `json:"IPv6,omitempty"`
}

type status struct {
	LastUpdated time.Time `json:"lastUpdated"`
	Healthy     bool      `json:"healthy"`
}

// Handler returns what answers at Healthz and Livez, to any method, and at no other path.
func (p *Probes) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(Healthz, func(w http.ResponseWriter, _ *http.Request) {
		eligible := p.Eligible()
		p.answer(w, Healthz, &eligible)
	})
	mux.HandleFunc(Livez, func(w http.ResponseWriter, _ *http.Request) { p.answer(w, Livez, nil) })
	return mux
}

// answer says how the families are, and 200 if nothing is wrong: nil means that eligibility was not asked for.
func (p *Probes) answer(w http.ResponseWriter, path string, eligible *bool) {
	body := reportOf(p.State.Families(), time.Now())
	body.NodeEligible = eligible
	code := http.StatusOK
	if !body.Healthy || eligible != nil && !*eligible {
		code = http.StatusServiceUnavailable
	} else {
		// Monitoring of old took a time that stands still for a failure, although there may just have been nothing to
		// do. The times of the families are the real ones.
		body.LastUpdated = body.CurrentTime
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	text, _ := json.Marshal(body) // cannot fail: times of this century, and booleans
	_, _ = w.Write(text)          // the client may be gone; nobody else would want to know
	p.Answered(path, code)
}

// reportOf is the report at a moment. LastUpdated is the latest of the families'.
func reportOf(families []Family, now time.Time) report {
	r := report{CurrentTime: now, Healthy: true}
	for _, f := range families {
		if r.Status == nil {
			r.Status = &familyStatus{}
		}
		s := &status{LastUpdated: f.Updated, Healthy: f.Healthy}
		if f.Family == ipproto.IPv4 {
			r.Status.IPv4 = s
		} else {
			r.Status.IPv6 = s
		}
		r.Healthy = r.Healthy && f.Healthy
		if f.Updated.After(r.LastUpdated) {
			r.LastUpdated = f.Updated
		}
	}
	return r
}
