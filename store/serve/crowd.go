package serve

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// crowd keeps the number of connections below what the process has file descriptors for.
// When all are taken, a new connection takes the place of the one that has been silent for
// longest: those that ask are never kept out by those that do not.
type crowd struct {
	net.Listener
	max int

	mu   sync.Mutex
	all  map[*client]bool
	free chan struct{} // holds one after a connection has ended or fallen silent
	gone chan struct{} // closed with the listener
	once sync.Once
}

// client is a connection.
type client struct {
	net.Conn
	crowd    *crowd
	requests int       // under way
	since    time.Time // silent since then, if there is none
	once     sync.Once
	err      error
}

func newCrowd(l net.Listener, limit int) *crowd {
	return &crowd{Listener: l, max: limit, all: map[*client]bool{}, free: make(chan struct{}, 1), gone: make(chan struct{})}
}

// Of the files that a process may have open, ownDescriptors and a quarter are for the store
// and for uploads. Each connection needs one, and one for what is sent.
const (
	ownDescriptors = 24
	maxDescriptors = 1 << 30 // as good as no limit
)

// connectionLimit returns how many connections there may be with n descriptors; 0 means any
// number.
func connectionLimit(n int) int {
	if n == 0 {
		return 0
	}
	return max((n-n/4-ownDescriptors)/2, 1)
}

// silence is how long a connection may go without a request before another can take its
// place: what a client has sent may not have been read yet.
const silence = 50 * time.Millisecond

// acceptPause is how long to wait for descriptors that somebody else in the process has.
const acceptPause = 50 * time.Millisecond

// Accept returns a connection for which there is room. While all others ask for something,
// it waits: the client waits, too, and is answered later.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err == nil {
			return c.admit(conn)
		}
		if !errors.Is(err, syscall.EMFILE) && !errors.Is(err, syscall.ENFILE) {
			return nil, err
		}
		if wait := c.evict(); wait != 0 {
			c.wait(cmp.Or(max(wait, 0), acceptPause))
		}
	}
}

func (c *crowd) admit(conn net.Conn) (net.Conn, error) {
	for !c.room() {
		if wait := c.evict(); wait != 0 && !c.wait(max(wait, 0)) {
			return nil, errors.Join(net.ErrClosed, conn.Close())
		}
	}
	one := &client{Conn: conn, crowd: c, since: time.Now()}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[one] = true
	return one, nil
}

func (c *crowd) room() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.max <= 0 || len(c.all) < c.max
}

// evict closes the connection that has been silent for longest. If it cannot yet, it returns
// in what time, or a negative number if all have a request under way.
func (c *crowd) evict() time.Duration {
	c.mu.Lock()
	var oldest *client
	for one := range c.all {
		if one.requests == 0 && (oldest == nil || one.since.Before(oldest.since)) {
			oldest = one
		}
	}
	wait := time.Duration(-1)
	if oldest != nil {
		wait = max(time.Until(oldest.since.Add(silence)), 0)
	}
	c.mu.Unlock()
	if wait == 0 {
		_ = oldest.Close() // nobody counts on it
	}
	return wait
}

// wait returns true once a connection has ended or fallen silent, or after a time, if one is
// given; false if the listener is closed.
func (c *crowd) wait(atMost time.Duration) bool {
	var late <-chan time.Time
	if atMost > 0 {
		timer := time.NewTimer(atMost)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-c.free:
	case <-late:
	case <-c.gone:
		return false
	}
	return true
}

func (c *crowd) tell() {
	select {
	case c.free <- struct{}{}:
	default:
	}
}

// Close implements [net.Listener].
func (c *crowd) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Listener.Close()
}

// Close ends the connection.
func (one *client) Close() error {
	one.once.Do(func() {
		one.err = one.Conn.Close()
		one.crowd.mu.Lock()
		delete(one.crowd.all, one)
		one.crowd.mu.Unlock()
		one.crowd.tell()
	})
	return one.err
}

// ReadFrom has the kernel copy files to the connection, as a TCP connection does.
func (one *client) ReadFrom(r io.Reader) (int64, error) { return io.Copy(one.Conn, r) }

// CloseWrite ends what is sent, as net/http does before it closes.
func (one *client) CloseWrite() error {
	if w, ok := one.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// clientKey is where a request's context has its connection.
type clientKey struct{}

// inContext is for http.Server.ConnContext.
func (c *crowd) inContext(ctx context.Context, conn net.Conn) context.Context {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS
		conn = t.NetConn()
	}
	return context.WithValue(ctx, clientKey{}, conn)
}

// asks notes that a request is under way on a connection, until the function that it returns
// is called.
func asks(r *http.Request) (done func()) {
	one, ok := r.Context().Value(clientKey{}).(*client)
	if !ok {
		return func() {}
	}
	one.change(1)
	return func() { one.change(-1) }
}

func (one *client) change(by int) {
	one.crowd.mu.Lock()
	one.requests += by
	one.since = time.Now()
	one.crowd.mu.Unlock()
	if by < 0 {
		one.crowd.tell()
	}
}
