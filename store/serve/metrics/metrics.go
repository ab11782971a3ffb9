// Package metrics counts what a registry does, for Prometheus.
//
// No label tells a repository, a tag, a user or a client: there are as many of those
// as somebody likes to make.
package metrics

import (
	"net/http"
	"strconv"

	"airgap/store/serve"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes is how many may look at the metrics at once.
const maxScrapes = 4

// seconds are what durations are sorted into: small answers take less than a
// millisecond, large blobs minutes.
var seconds = []float64{.001, .005, .025, .1, .5, 2.5, 10, 60, 300}

// Metrics are the counts of one registry. They are safe for concurrent use.
type Metrics struct {
	registry       *prometheus.Registry
	inFlight       prometheus.Gauge
	requests       *prometheus.CounterVec
	durations      *prometheus.HistogramVec
	pulls          *prometheus.CounterVec
	sent, received prometheus.Counter
	wrongLogins    prometheus.Counter
	reloads        prometheus.Counter
}

// New returns counts that are all 0.
func New() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "airgap_requests_in_flight", Help: "Requests that are being answered."}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "airgap_requests_total", Help: "Requests that were answered, by what they asked for. Status 0 is an answer that broke off before it began."},
			[]string{"method", "kind", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "airgap_request_duration_seconds", Help: "How long requests took, to the end of the answer.", Buckets: seconds},
			[]string{"kind"}),
		pulls:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "airgap_pulls_total", Help: "Manifests and blobs that were sent whole."}, []string{"kind"}),
		sent:        counter("airgap_sent_bytes_total", "Bytes of the bodies of answers."),
		received:    counter("airgap_received_bytes_total", "Bytes of the bodies of requests."),
		wrongLogins: counter("airgap_wrong_logins_total", "Requests with a wrong name or password."),
		reloads:     counter("airgap_reload_failures_total", "Changes of users, rights or the certificate that could not be read, so that what was there before still counts."),
	}
	m.registry.MustRegister(m.inFlight, m.requests, m.durations, m.pulls, m.sent, m.received, m.wrongLogins, m.reloads,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Watch counts the uploads that a handler has open, if it takes any.
func (m *Metrics) Watch(h http.Handler) {
	busy, ok := h.(serve.Busy)
	if !ok {
		return
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "airgap_uploads_open", Help: "Uploads that were begun and have not ended."},
		func() float64 { return float64(busy.Uploads()) }))
}

// Begun is for [serve.Options].
func (m *Metrics) Begun() { m.inFlight.Inc() }

// Answered is for [serve.Options].
func (m *Metrics) Answered(a serve.Access) {
	m.inFlight.Dec()
	kind := a.Kind
	if kind == "" {
		kind = "none"
	}
	m.requests.WithLabelValues(method(a.Method), kind, strconv.Itoa(a.Status)).Inc()
	m.durations.WithLabelValues(kind).Observe(a.Duration.Seconds())
	m.sent.Add(float64(a.Bytes))
	m.received.Add(float64(a.Received))
	if a.WrongLogin {
		m.wrongLogins.Inc()
	}
	if a.Method == http.MethodGet && a.Status == http.StatusOK && (kind == "manifests" || kind == "blobs") {
		m.pulls.WithLabelValues(kind).Inc()
	}
}

// ReloadFailed counts a change that could not be read.
func (m *Metrics) ReloadFailed() { m.reloads.Inc() }

// method keeps what clients make up out of the labels.
func method(name string) string {
	switch name {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return name
	}
	return "other"
}

// Handler gives the counts out at /metrics.
func (m *Metrics) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, MaxRequestsInFlight: maxScrapes}))
	return mux
}
