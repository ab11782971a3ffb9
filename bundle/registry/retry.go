package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// MaxRetryAfter is the longest pause that a registry can ask for.
const MaxRetryAfter = time.Minute

const (
	firstWait = 250 * time.Millisecond
	maxWait   = 10 * time.Second
)

// policy says when a request is repeated. Every request of this package may be,
// as far as its body can be sent again: a second upload session or a second PUT
// of the same content changes nothing.
type policy struct {
	retries int
	wait    func(int, time.Duration) time.Duration
}

// Retry implements retry.Policy of oras-go.
func (p policy) Retry(attempt int, resp *http.Response, err error) (time.Duration, error) {
	if attempt >= p.retries || err != nil && !lostConnection(err) || err == nil && !passing(resp.StatusCode) {
		return -1, nil
	}
	return p.wait(attempt, retryAfter(resp, time.Now())), nil
}

// passing says whether a status may be another one a moment later.
func passing(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// lostConnection says whether err may go away by trying again. All do that are
// not known to be final.
func lostConnection(err error) bool {
	var cert *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var dns *net.DNSError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, errPlain), errors.Is(err, errRedirect), errors.Is(err, http.ErrSchemeMismatch),
		errors.As(err, &cert), errors.As(err, &record),
		errors.As(err, &dns) && dns.IsNotFound:
		return false
	}
	return true
}

// retryAfter reads the header in both its forms (RFC 9110, section 10.2.3),
// capped; 0 if there is none.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	if resp == nil {
		return 0
	}
	v := resp.Header.Get("Retry-After")
	if secs, err := strconv.ParseUint(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(secs, uint64(MaxRetryAfter/time.Second))) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}

// defaultWait grows exponentially, with jitter so that parallel workers that
// were turned away together do not come back together.
func defaultWait(attempt int, asked time.Duration) time.Duration {
	d := min(firstWait<<min(attempt, 10), maxWait)
	d = d/2 + rand.N(d)
	if asked > 0 {
		return asked + d/4
	}
	return d
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
