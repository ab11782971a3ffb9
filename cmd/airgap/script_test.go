package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"airgap/bundle/enclave"
	"airgap/store"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"airgap": main})
}

// TestScript runs testdata/script: the real main in a process of its own,
// against registries in this one. The commands that scripts have besides
// testscript's own:
//
//	registry NAME [referrers]  start a registry, put its address into $NAME
//	load WHAT REPOSITORY       fill a repository; see contentNamed
//	folder WHAT DIR [NAME]     write a layout folder, named after reg.example/team/app or NAME
//	code N PROGRAM ARG...      run it; it has to exit with N
//	fault NAME deny|stall      from now on, answer for layers with 403, or never
//	awaitstall NAME            until somebody waits for a layer
//	mend NAME                  no more faults
//	fetched NAME N             N layers were fetched since the last time this was asked
//	damage FILE OFFSET|TEXT    flip a bit there; a negative offset counts from the end
//	cut FILE BYTES             take bytes off the end
//	hold DIR                   be alone in a store until the script ends
//	serve NAME ARG...          start airgap serve on a free port, put its address into $NAME, and
//	                           that of --metrics into $NAME_METRICS
//	stopserve NAME             SIGTERM; it has to exit with 0; its stderr goes to NAME.log
//	names NAME HOST            put what HOST is called in a path of serve into $NAME
//	curl [METHOD] URL                   print what it answers, status first; a body to stdout
//	await REGEXP URL...        curl them in turn until the last answer fits
//	htpasswd FILE NAME:PASSWORD...  write a file of users anew
//	tlspair CERT KEY NUMBER    write a certificate with that number, and its key
//	samebytes FILE FILE
//	expand FILE                replace $NAME in it
//	clean FILE                 it holds text, and nothing that could play with a terminal
//	empty DIR
//	planned BUNDLE JSON        the bundle is what --dry-run said
//	unname DIR                 leave bare tags in a layout, as other tools write them
//	removelargest DIR          remove a layout's largest blob
//	damagelargest DIR          flip a bit in it
//	editcheckpoint DIR         take the last line out of an exported ledger, and leave the signature
//	otherledger DIR            take the last line out of it, and sign it by another key
//	pins                       write release.pub and root.pem, whose signatures "signed" has, and other.pub
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			// Somebody's real credentials have no place here.
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("HOSTILE", escName)
			env.Setenv("LATIN", "K\xfcrze")
			env.Values[registriesKey{}] = &registries{byName: map[string]*testRegistry{}}
			env.Defer(func() { ledgersHold(t, env.WorkDir) })
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "netns" {
				return false, fmt.Errorf("no condition %q", cond)
			}
			return exec.Command("unshare", "-n", "true").Run() == nil, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"registry":   scriptRegistry,
			"load":       scriptLoad,
			"pins":       scriptPins,
			"folder":     scriptFolder,
			"code":       scriptCode,
			"fault":      scriptFault,
			"awaitstall": scriptAwaitStall,
			"mend":       scriptMend,
			"fetched":    scriptFetched,
			"damage":     scriptDamage,
			"cut":        scriptCut,
			"hold":       scriptHold,
			"serve":      scriptServe,
			"stopserve":  scriptStopServe,
			"names":      scriptNames,
			"curl":       scriptCurl,
			"await":      scriptAwait,
			"htpasswd":   scriptHTPasswd,
			"tlspair":    scriptTLSPair,
			"samebytes":  scriptSameBytes,

			"expand":        scriptExpand,
			"clean":         scriptClean,
			"empty":         scriptEmpty,
			"planned":       scriptPlanned,
			"unname":        scriptUnname,
			"removelargest": scriptRemoveLargest,
			"damagelargest": scriptDamageLargest,

			"editcheckpoint": scriptEditCheckpoint,
			"otherledger":    scriptOtherLedger,
		},
	})
}

// ledgersHold checks that every store which a script leaves is what its ledger says.
func ledgersHold(t *testing.T, dir string) {
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() || !store.Is(path) {
			return err
		}
		s, err := store.Open(path, store.Options{ReadOnly: true})
		if err != nil {
			return nil // the script has damaged it
		}
		found, err := enclave.CheckLedger(context.Background(), s)
		for _, p := range found {
			t.Errorf("%s: %s %s", path, p.Digest, p.Problem)
		}
		return errors.Join(err, s.Close())
	})
	if err != nil {
		t.Error(err)
	}
}

func wantArgs(ts *testscript.TestScript, neg bool, args []string, least, most int) {
	if neg || len(args) < least || len(args) > most {
		ts.Fatalf("want %d to %d arguments and no !, got %q", least, most, args)
	}
}

func scriptCode(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 1000)
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptDamage(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 2)
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	if err != nil {
		if at = bytes.Index(data, []byte(args[1])); at < 0 {
			ts.Fatalf("%s does not hold %s", args[0], args[1])
		}
	} else if at < 0 {
		at += len(data)
	}
	data[at] ^= 1
	ts.Check(os.WriteFile(path, data, 0o600))
}

func scriptCut(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 2)
	path := ts.MkAbs(args[0])
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	info, err := os.Stat(path)
	ts.Check(err)
	ts.Check(os.Truncate(path, info.Size()-n))
}

func scriptHold(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, 1)
	s, err := store.Open(ts.MkAbs(args[0]), store.Options{Alone: true})
	ts.Check(err)
	ts.Defer(func() { _ = s.Close() })
}

func scriptSameBytes(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, 2)
	if a, b := ts.ReadFile(args[0]), ts.ReadFile(args[1]); a != b {
		ts.Fatalf("%s (%d bytes) and %s (%d bytes) differ", args[0], len(a), args[1], len(b))
	}
}

// A glob that matches nothing would pass as well.
func TestThereAreScripts(t *testing.T) {
	found, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(found) < 10 {
		t.Fatalf("%d scripts: %s (%v)", len(found), strings.Join(found, " "), err)
	}
}
