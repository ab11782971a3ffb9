// Package trust reads and keeps the trust directory: the one place from which
// trust comes. What is not in it is not trusted, whoever signed it; no system
// certificates, no compiled-in roots and no network are ever asked.
//
// A trust directory looks like this, and every part of it may be missing:
//
//	truststore/x509/ca/<store>/<file>                certificates, PEM or DER
//	truststore/x509/signingAuthority/<store>/<file>
//	truststore/x509/tsa/<store>/<file>
//	keys/<name>.pub or keys/<name>.pem               one public key each, PEM
//	trusted_root*.json                               Sigstore trusted roots
//	crl/<name>.crl                                   revocation lists, PEM or DER
//	confirmed.json                                   when somebody last confirmed it
//
// The first three are notation's trust store as its specification lays it out
// (notaryproject/specifications, trust-store-trust-policy.md, "Trust Store"), so
// notation's own configuration folder can be used as it is.
//
// [Open] reads all of it, once, into a [Trust] that never changes. An [Editor] makes
// one and changes it; [Init], [AddCertificate], [AddKey], [AddRoot], [AddCRL] and
// [Remove] do so by this machine's clock. [Trust.Check] says what has expired or is
// about to, and [Trust.Confirmed] when somebody last looked it over.
//
// # What it guarantees
//
// Open is strict: a file that cannot be read, is too large, is no regular file,
// does not parse or has no business there is an error that names it, and there is
// no Trust. Nobody should believe something trusted, or revoked, that is not.
// Certificates that notation would refuse are refused.
//
// A file is added whole or not at all, and never takes the place of different
// content, but for a CRL that of an older one by the same issuer. Private keys are refused wherever they turn up.
//
// # What it does not
//
// It judges nothing: an expired certificate and a stale CRL are returned like any
// other, and it is for those who verify to ask about the time. Nor does it protect
// the folder: whoever can write to it decides what is trusted.
package trust
