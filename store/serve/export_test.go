package serve

// BeginDraining does what Run does once its context has ended.
func BeginDraining(d *Drain) { d.begin() }

// EndDraining takes that back.
func EndDraining(d *Drain) { d.begun.Store(false) }
