package notary

// Certificates is how many certificates are looked at for their cost.
func Certificates(envelope []byte, mediaType string) int {
	chain, _ := chainOf(envelope, mediaType)
	return len(chain)
}
