package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits on connections.
const (
	// headerTime is how long a client may take for the head of a request.
	headerTime = 10 * time.Second
	// idleTime is how long a connection without a request is kept.
	idleTime = 2 * time.Minute
	// maxHeaderBytes is how long the head of a request may be.
	maxHeaderBytes = 16 << 10
)

// ErrCut says that downloads were cut off, since they did not end in time.
var ErrCut = errors.New("downloads were cut off")

// RunOptions tune [Run].
type RunOptions struct {
	// Grace is how long downloads may go on after ctx ended.
	Grace time.Duration
	// TLS is for HTTPS; nil means plain HTTP.
	TLS *tls.Config
}

// Run serves h on l until ctx ends, and closes l. Then nothing new is taken; what is
// being downloaded has Grace to end, or is cut off, which is ErrCut. Nothing of it
// goes on when Run returns.
func Run(ctx context.Context, l net.Listener, h http.Handler, o RunOptions) error {
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	open := &gate{h: h}
	srv := &http.Server{
		Handler: open, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaderBytes,
		TLSConfig: o.TLS, BaseContext: func(net.Listener) context.Context { return requests },
		ErrorLog: log.New(io.Discard, "", 0), // broken handshakes, and the like
	}
	ended := make(chan error, 1)
	go func() {
		if o.TLS != nil {
			ended <- srv.ServeTLS(l, "", "")
		} else {
			ended <- srv.Serve(l)
		}
	}()
	var err error
	select {
	case err = <-ended:
		ended <- nil
	case <-ctx.Done():
		stopping, done := context.WithTimeout(requests, o.Grace)
		defer done()
		err = srv.Shutdown(stopping)
		if errors.Is(err, context.DeadlineExceeded) {
			err = ErrCut
		}
	}
	cut()
	_ = srv.Close() // what is left of it
	open.shut()
	<-ended
	return err
}

// gate knows when the last request has ended: closing a server does not wait for
// that.
type gate struct {
	h      http.Handler
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	g.inside.Add(1)
	g.mu.Unlock()
	defer g.inside.Done()
	g.h.ServeHTTP(w, r)
}

func (g *gate) shut() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}
