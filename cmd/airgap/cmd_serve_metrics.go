package main

import (
	"context"
	"net"
	"net/http"

	"airgap/store/serve"
	"airgap/store/serve/metrics"
)

// watch gives out what serve counts, at an address of its own. A nil watch counts
// nothing.
type watch struct {
	*metrics.Metrics
	l net.Listener
}

// watch is nil if nobody wants metrics.
func (o *accessOptions) watch() (*watch, error) {
	if o.metrics == "" {
		return nil, nil
	}
	addr, err := resolve("--metrics", o.metrics)
	if err != nil {
		return nil, err
	}
	l, err := listen("--metrics", addr)
	if err != nil {
		return nil, err
	}
	return &watch{metrics.New(), l}, nil
}

func (w *watch) url() string {
	if w == nil {
		return ""
	}
	return "http://" + w.l.Addr().String() + "/metrics"
}

// failed has reports of what could not be read again counted.
func (w *watch) failed(report func(error)) func(error) {
	if w == nil {
		return report
	}
	return func(err error) {
		w.ReloadFailed()
		report(err)
	}
}

// observe has requests counted.
func (w *watch) observe(o serve.Options) serve.Options {
	if w == nil {
		return o
	}
	log := o.Access
	o.Begun = w.Begun
	o.Access = func(a serve.Access) {
		w.Answered(a)
		if log != nil {
			log(a)
		}
	}
	return o
}

// begin gives out what is counted of h, until close is called.
func (w *watch) begin(ctx context.Context, h http.Handler) (stop func()) {
	if w == nil {
		return func() {}
	}
	w.Watch(h)
	// To the very end: how it stops is worth watching, too.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = serve.Run(ctx, w.l, w.Handler(), serve.RunOptions{})
	}()
	return func() {
		cancel()
		<-done
	}
}

func (w *watch) close() {
	if w != nil {
		_ = w.l.Close()
	}
}
