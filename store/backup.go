package store

import (
	"context"
	"io"

	"go.etcd.io/bbolt"
)

// Backup writes a copy of the database as it is at one moment, while others use the
// store. Together with the blobs, copied afterwards and before the next collection of
// garbage, it is the store. It holds the key that signs the ledger's checkpoints.
func (s *Store) Backup(ctx context.Context, w io.Writer) (n int64, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		n, err = tx.WriteTo(&ctxWriter{ctx, w})
		return err
	})
	return n, s.wrap("", err)
}

// ctxWriter ends a long write when its context does.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c *ctxWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
