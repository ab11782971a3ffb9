package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// Limits on the checking of passwords.
const (
	// maxPasswordBytes is how much of a password bcrypt reads.
	maxPasswordBytes = 72
	// maxWaiting is how many requests wait until their password is checked, and
	// waitTime how long one does.
	maxWaiting = 64
	waitTime   = 10 * time.Second
	// rememberTime is how long a password that was right is not checked again, and
	// maxRemembered how many of them there are.
	rememberTime  = 10 * time.Minute
	maxRemembered = 2 * MaxUsers
)

// passwords checks passwords. Whoever guesses is slowed down by bcrypt and by all
// others who do; whoever was right a moment ago does not wait.
type passwords struct {
	now     func() time.Time
	compare func(hash, password []byte) error
	key     [sha256.Size]byte
	slots   chan struct{} // one for each check under way
	waiting atomic.Int32

	mu    sync.Mutex
	right map[proof]time.Time // until when
}

// proof stands for a password that was right for a name and a hash.
type proof [sha256.Size]byte

func newPasswords(now func() time.Time) *passwords {
	p := &passwords{
		now: now, compare: bcrypt.CompareHashAndPassword, right: map[proof]time.Time{},
		// Half of the processors are left to those who pull.
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
	_, _ = rand.Read(p.key[:]) // never fails
	return p
}

// check fails with ErrCredentials, or with ErrBusy.
func (p *passwords) check(ctx context.Context, u *users, name, password string) error {
	if len(password) > maxPasswordBytes || strings.Contains(password, "\x00") {
		return ErrCredentials // bcrypt would take another for it
	}
	hash, known := u.hashes[name]
	if !known {
		if len(u.names) == 0 {
			return ErrCredentials
		}
		// It costs what somebody's does, always the same one's.
		hash = u.hashes[u.names[p.choose(name, len(u.names))]]
	}
	k := p.proof(name, string(hash), password)
	if p.remembered(k) {
		return nil
	}
	if err := p.enter(ctx); err != nil {
		return err
	}
	defer func() { <-p.slots }()
	if p.remembered(k) { // by another request meanwhile
		return nil
	}
	if p.compare(hash, []byte(password)) != nil || !known {
		return ErrCredentials
	}
	p.remember(k)
	return nil
}

// enter waits until a password may be checked.
func (p *passwords) enter(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > maxWaiting {
		return ErrBusy
	}
	late := time.NewTimer(waitTime)
	defer late.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
	case <-late.C:
	}
	return ErrBusy
}

func (p *passwords) proof(parts ...string) proof {
	mac := hmac.New(sha256.New, p.key[:])
	for _, part := range parts {
		_ = binary.Write(mac, binary.BigEndian, uint64(len(part)))
		_, _ = mac.Write([]byte(part))
	}
	return proof(mac.Sum(nil))
}

// choose picks one of n by a name, in a way that nobody can foresee.
func (p *passwords) choose(name string, n int) int {
	sum := p.proof(name)
	return int(binary.BigEndian.Uint64(sum[:]) % uint64(n))
}

func (p *passwords) remembered(k proof) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	until, ok := p.right[k]
	if !ok {
		return false
	}
	// A clock that was put back makes nothing last longer.
	if left := until.Sub(p.now()); left <= 0 || left > rememberTime {
		delete(p.right, k)
		return false
	}
	return true
}

func (p *passwords) remember(k proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if len(p.right) >= maxRemembered {
		for other, until := range p.right {
			if !until.After(now) {
				delete(p.right, other)
			}
		}
	}
	for other := range p.right {
		if len(p.right) < maxRemembered {
			break
		}
		delete(p.right, other) // which costs its user one check
	}
	p.right[k] = now.Add(rememberTime)
}
