package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/bcrypt"
)

// servers are those of all scripts that run, by serverKey.
var servers sync.Map

type serverKey struct {
	ts   *testscript.TestScript
	name string
}

// testServer is an airgap serve in a process of its own.
type testServer struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	done   bool
}

func (s *testServer) stop() error {
	if s.done {
		return nil
	}
	s.done = true
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return s.cmd.Wait()
}

func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 100)
	program, err := exec.LookPath("airgap")
	ts.Check(err)
	s := &testServer{cmd: exec.Command(program, append([]string{"serve", "--listen", "127.0.0.1:0"}, args[1:]...)...)}
	s.cmd.Dir, s.cmd.Stderr = ts.Getenv("WORK"), &s.stderr
	s.cmd.Env = []string{"HOME=" + ts.Getenv("HOME"), "PATH=" + os.Getenv("PATH")}
	for _, name := range []string{"AIRGAP_POLICY", "AIRGAP_TRUST", "AIRGAP_STORE"} {
		s.cmd.Env = append(s.cmd.Env, name+"="+ts.Getenv(name))
	}
	stdout, err := s.cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	ts.Defer(func() { _ = s.stop() })
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	if slices.Contains(args, "--metrics") && err == nil {
		var page string
		page, err = lines.ReadString('\n')
		ts.Setenv(args[0]+"_METRICS", strings.TrimSpace(page))
	}
	if err != nil {
		_ = s.cmd.Wait()
		ts.Fatalf("airgap serve %s: it did not say where: %s", strings.Join(args[1:], " "), &s.stderr)
	}
	url := strings.TrimSpace(line)
	_, host, ok := strings.Cut(url, "://")
	if !ok {
		ts.Fatalf("airgap serve said %q", line)
	}
	ts.Setenv(args[0], host)
	servers.Store(serverKey{ts, args[0]}, s)
}

func scriptStopServe(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	v, ok := servers.LoadAndDelete(serverKey{ts, args[0]})
	if !ok {
		ts.Fatalf("no server %s", args[0])
	}
	s := v.(*testServer)
	ts.Check(s.stop())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".log"), s.stderr.Bytes(), 0o600))
}

func scriptNames(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 2)
	ts.Setenv(args[0], pathHost(args[1]))
}

// scriptCurl asks without following redirects or caring about errors, and takes any
// certificate.
func scriptCurl(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 2)
	method := http.MethodGet
	if len(args) == 2 {
		method = args[0]
	}
	_, err := io.WriteString(ts.Stdout(), curl(ts, method, args[len(args)-1]))
	ts.Check(err)
}

func curl(ts *testscript.TestScript, method, url string) string {
	req, err := http.NewRequest(method, url, nil)
	ts.Check(err)
	if u := req.URL.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	client := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	res, err := client.RoundTrip(req)
	ts.Check(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	ts.Check(err)
	answer := fmt.Sprintf("%d %s\n%s\n", res.StatusCode, res.Header.Get("Docker-Content-Digest"), body)
	if admitted := res.Header.Get("Airgap-Admitted"); admitted != "" {
		answer += "admitted: " + admitted + "\n"
	}
	if res.TLS != nil {
		answer = fmt.Sprintf("certificate %s\n%s", res.TLS.PeerCertificates[0].SerialNumber, answer)
	}
	return answer
}

// scriptAwait asks in turn until the last answer is as it should be: files are looked
// at when somebody asks, and not more often than once in a while.
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 10)
	want := regexp.MustCompile("(?m)" + args[0])
	answer := ""
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		for _, url := range args[1:] {
			answer = curl(ts, http.MethodGet, url)
		}
		if want.MatchString(answer) {
			return
		}
	}
	ts.Fatalf("%s: it stays %q, want %q", args[1:], answer, args[0])
}

// scriptHTPasswd writes a file of users anew, and puts it into place as a whole.
func scriptHTPasswd(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 100)
	var text strings.Builder
	for _, arg := range args[1:] {
		name, password, _ := strings.Cut(arg, ":")
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		ts.Check(err)
		fmt.Fprintf(&text, "%s:%s\n", name, hash)
	}
	replaceFile(ts, args[0], []byte(text.String()))
}

// scriptTLSPair writes a certificate of the number, and its key.
func scriptTLSPair(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3, 3)
	serial, ok := new(big.Int).SetString(args[2], 10)
	if !ok {
		ts.Fatalf("%q is no number", args[2])
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{SerialNumber: serial, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	replaceFile(ts, args[0], pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	replaceFile(ts, args[1], pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func replaceFile(ts *testscript.TestScript, name string, data []byte) {
	path := ts.MkAbs(name)
	ts.Check(os.WriteFile(path+".new", data, 0o600))
	ts.Check(os.Rename(path+".new", path))
}
