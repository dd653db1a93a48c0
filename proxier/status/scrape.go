package status

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"espalier/proxier/plan"
)

// scrape has what is asked for at the moment of a scrape.
type scrape struct{ status *Status }

// desc describes a metric of scrape.
func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe describes nothing, which lets Collect decide what there is.
func (scrape) Describe(chan<- *prometheus.Desc) {}

// Collect sends what there is now.
func (c scrape) Collect(to chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		if m, err := prometheus.NewConstMetric(d, kind, value, labels...); err == nil { // else a label is no text
			to <- m
		}
	}
	families := c.status.all()
	var waiting Waiting
	for _, f := range families {
		w := f.waiting()
		// Both families wait for the changes that are theirs: slices have one, Services may count twice.
		waiting.Services += w.Services
		waiting.Slices += w.Slices
		queued := w.Latest
		if queued.Before(f.started) {
			queued = f.started
		}
		send(desc(lastQueued, alpha+"When a sync was last asked for.", familyLabel), prometheus.GaugeValue, float64(queued.UnixNano())/1e9, f.label)
	}
	send(desc(servicesPending, alpha+"Changes of Services that are in no sync yet."), prometheus.GaugeValue, float64(waiting.Services))
	send(desc(slicesPending, alpha+"Changes of EndpointSlices that are in no sync yet."), prometheus.GaugeValue, float64(waiting.Slices))
	if c.status.facts.Events != nil {
		services, slices := c.status.facts.Events()
		send(desc(serviceEvents, alpha+"Reports about Services, changes or not, once for each IP family."), prometheus.CounterValue, float64(services)*float64(len(families)))
		send(desc(sliceEvents, alpha+"Reports about EndpointSlices, changes or not."), prometheus.CounterValue, float64(slices))
	}
	for _, g := range c.status.facts.Gates {
		on := 0.0
		if g.On {
			on = 1
		}
		send(desc(featureEnabled, beta+"1 for each feature gate that is on, 0 for each that is off, by name and stage.", "name", "stage"), prometheus.GaugeValue, on, g.Name, g.Stage)
	}
	c.ages(send)
	c.counters(send)
	c.services(send, families)
}

// services sends what was counted for Services.
func (c scrape) services(send func(*prometheus.Desc, prometheus.ValueType, float64, ...string), families []*Family) {
	if c.status.facts.Services == nil {
		return
	}
	const of = " of connections to a Service that its rules have translated. Counts begin at zero when these rules are written anew."
	labels := []string{familyLabel, "namespace", "service", "port", "via"}
	packets, bytes := desc(servicePackets, "First packets"+of, labels...), desc(serviceBytes, "Bytes in the first packets"+of, labels...)
	for _, f := range families {
		for to, n := range c.status.facts.Services(f.Family) {
			values := []string{f.label, to.Service.Namespace, to.Service.Name, to.Port, to.Via}
			send(packets, prometheus.CounterValue, float64(n.Packets), values...)
			send(bytes, prometheus.CounterValue, float64(n.Bytes), values...)
		}
	}
}

// ages sends for how long the oldest change has not been in the kernel.
func (c scrape) ages(send func(*prometheus.Desc, prometheus.ValueType, float64, ...string)) {
	if c.status.facts.Health == nil {
		return
	}
	for _, h := range c.status.facts.Health() {
		age := 0.0
		if !h.Pending.IsZero() {
			age = max(0, time.Since(h.Pending).Seconds())
		}
		send(desc(oldestChange, "For how long the oldest change has been waiting that is not in the kernel, or for how long a repair has not succeeded; 0 if the kernel is right.", familyLabel),
			prometheus.GaugeValue, age, label(h.Family))
	}
}

// counters sends what rules count for us. The counters are the kernel's: they belong to both families, and do not begin
// at zero when the process does.
func (c scrape) counters(send func(*prometheus.Desc, prometheus.ValueType, float64, ...string)) {
	if c.status.facts.Counters == nil {
		return
	}
	read := c.status.facts.Counters()
	if n, ok := read[plan.AcctInvalid]; ok {
		send(desc(invalidDropped, alpha+"Packets that were dropped because conntrack takes them for part of no connection."), prometheus.CounterValue, float64(n))
	}
	if n, ok := read[plan.AcctLocalhost]; ok {
		send(desc(localhostAccepted, alpha+"Packets to node ports on addresses of the loopback interface."), prometheus.CounterValue, float64(n))
	}
}
