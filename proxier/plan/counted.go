package plan

import (
	"strings"

	"espalier/proxier/model"
)

// A Frontend is one of the ways to reach a port of a Service.
type Frontend struct {
	Service model.ServiceName
	Port    string // its name; empty: it has none
	// Via is "cluster IP", "external IP", "load balancer" or "node port".
	Via string
}

// FrontendOf reads the comment of a rule of the nat table that tells a frontend by its port, and returns which one it
// is; false: the rule is another one.
func FrontendOf(comment string) (f Frontend, ok bool) {
	name := comment
	f.Via = "node port"
	for suffix, via := range map[string]string{" cluster IP": "cluster IP", " external IP": "external IP", " loadbalancer IP": "load balancer"} {
		if before, found := strings.CutSuffix(comment, suffix); found {
			name, f.Via = before, via
		}
	}
	if strings.Contains(name, " ") {
		return Frontend{}, false
	}
	service, port, _ := strings.Cut(name, ":")
	f.Port = port
	f.Service.Namespace, f.Service.Name, ok = strings.Cut(service, "/")
	return f, ok
}
