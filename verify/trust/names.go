package trust

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The names in a trust directory.
const (
	x509Dir      = "truststore/x509"
	keysDir      = "keys"
	crlDir       = "crl"
	localKeysDir = "localkeys"
	lockFile     = ".airgap.lock"
	tempPrefix   = ".airgap-add-" // what is being written; then it gets its name
)

// keySuffixes are those of a public key's file.
var keySuffixes = []string{".pub", ".pem"}

// simpleName is what notation lets a store be called.
var simpleName = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)

// notationNames are the other things in notation's configuration folder. They
// give no trust and are not read.
var notationNames = []string{
	"trustpolicy.json", "trustpolicy.oci.json", "trustpolicy.blob.json",
	"config.json", "signingkeys.json", "plugins", localKeysDir,
}

// isRemark says whether a file is for people, or for git.
func isRemark(name string) bool {
	return strings.HasPrefix(name, "README") || name == ".gitignore"
}

// isPassedOver says whether something at the top is known to give no trust.
func isPassedOver(name string) bool {
	return isRemark(name) || slices.Contains(notationNames, name) ||
		name == ".git" || name == ".gitattributes" || name == confirmedFile || name == lockFile || strings.HasPrefix(name, tempPrefix)
}

// isPart says whether something at the top makes the folder a trust directory.
func isPart(name string) bool {
	return name == "truststore" || name == keysDir || name == crlDir || isRoot(name)
}

func isRoot(name string) bool {
	return strings.HasPrefix(name, "trusted_root") && strings.HasSuffix(name, ".json")
}

// keyName returns what the key in a file is called.
func keyName(file string) (string, bool) {
	for _, suffix := range keySuffixes {
		if name, ok := strings.CutSuffix(file, suffix); ok && simpleName.MatchString(name) {
			return name, true
		}
	}
	return "", false
}

// isPlain says whether a name can stand in a line of text and means there what it
// means to the file system.
func isPlain(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return r == '\\' || !unicode.IsPrint(r) })
}

// isAddable says whether something may be added under a name; what is there
// already may have other ones.
func isAddable(name string) bool {
	return simpleName.MatchString(name) && len(name) <= MaxNameBytes && name[0] != '.' && name[0] != '-' && !isRemark(name)
}

// isTrusted says whether file is a place for something that gives trust, or that
// somebody put where such things are.
func isTrusted(file string) bool {
	if file != path.Clean(file) || path.IsAbs(file) {
		return false
	}
	parts := strings.Split(file, "/")
	switch len(parts) {
	case 1:
		return isRoot(file)
	case 2:
		return parts[0] == keysDir || parts[0] == crlDir
	case 5:
		return parts[0]+"/"+parts[1] == x509Dir && isStoreType(parts[2])
	}
	return false
}
