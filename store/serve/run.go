package serve

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
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

// ErrCut says that uploads or downloads were cut off, since they did not end in time.
var ErrCut = errors.New("transfers were cut off")

// Busy is a handler that has things under way for longer than a request.
type Busy interface {
	// Uploads says how many uploads were begun, and have not ended.
	Uploads() int
}

// uploadsEvery is how often it is looked whether uploads ended by themselves, because
// nobody went on with them.
const uploadsEvery = time.Second

// Drain tells a handler that the server which runs it will stop: nothing should be
// begun that takes more than one request. A nil Drain never says so.
type Drain struct{ begun atomic.Bool }

// Draining says whether the server will stop.
func (d *Drain) Draining() bool { return d != nil && d.begun.Load() }

func (d *Drain) begin() {
	if d != nil {
		d.begun.Store(true)
	}
}

// RunOptions tune [Run].
type RunOptions struct {
	// Grace is how long uploads and downloads may go on after ctx ended.
	Grace time.Duration
	// TLS is for HTTPS; nil means plain HTTP.
	TLS *tls.Config
	// Drain is told when ctx has ended.
	Drain *Drain
	// MaxConnections is how many connections there may be at once; 0 means as many as this
	// process has file descriptors for. A further one takes the place of the one that has
	// been silent for longest, or waits while all others have a request under way.
	MaxConnections int
}

// Run serves h on l until ctx ends, and closes l. If h is Busy, uploads that were
// begun can be ended first, in as many requests as they take, and everything else is
// served meanwhile. Then nothing new is taken; what is under way has what is left of
// Grace to end, or is cut off, which is ErrCut. Nothing of it goes on when Run returns.
func Run(ctx context.Context, l net.Listener, h http.Handler, o RunOptions) error {
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	open := &gate{h: h, ended: make(chan struct{}, 1)}
	crowd := newCrowd(l, cmp.Or(o.MaxConnections, connectionLimit(descriptors())))
	srv := &http.Server{
		ConnContext: crowd.inContext,
		Handler:     open, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaderBytes,
		TLSConfig: o.TLS, BaseContext: func(net.Listener) context.Context { return requests },
		ErrorLog: log.New(io.Discard, "", 0), // broken handshakes, and the like
	}
	ended := make(chan error, 1)
	go func() {
		if o.TLS != nil {
			ended <- srv.ServeTLS(crowd, "", "")
		} else {
			ended <- srv.Serve(crowd)
		}
	}()
	var err error
	select {
	case err = <-ended:
		ended <- nil
	case <-ctx.Done():
		o.Drain.begin()
		stopping, done := context.WithTimeout(requests, o.Grace)
		defer done()
		err = open.end(stopping, srv)
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
	ended  chan struct{} // holds one after a request has ended
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	g.inside.Add(1)
	g.mu.Unlock()
	defer g.leave()
	defer asks(r)()
	g.h.ServeHTTP(w, r)
}

func (g *gate) leave() {
	g.inside.Done()
	select {
	case g.ended <- struct{}{}:
	default:
	}
}

// end lets uploads end, and then everything else, until ctx does.
func (g *gate) end(ctx context.Context, srv *http.Server) error {
	busy, _ := g.h.(Busy)
	left := g.await(ctx, busy)
	err := srv.Shutdown(ctx)
	if left || errors.Is(err, context.DeadlineExceeded) {
		return ErrCut
	}
	return err
}

// await returns when no upload is under way any more, or ctx ends; then it says
// whether some are left. Uploads end with a request, or by themselves.
func (g *gate) await(ctx context.Context, busy Busy) (left bool) {
	if busy == nil {
		return false
	}
	again := time.NewTicker(uploadsEvery)
	defer again.Stop()
	for busy.Uploads() > 0 {
		select {
		case <-g.ended:
		case <-again.C:
		case <-ctx.Done():
			return true
		}
	}
	return false
}

func (g *gate) shut() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}
