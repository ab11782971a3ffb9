package access

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const hashOfX = "$2a$04$VXsTRTPeCtzR2gOFYDOkAO3cFBFJzyzkYmvrvFKmjYnVkSNAPDz5G"

func TestUsers(t *testing.T) {
	y, b := strings.Replace(hashOfX, "$2a", "$2y", 1), strings.Replace(hashOfX, "$2a", "$2b", 1)
	u, err := parseUsers("users", "# who\n\nalice:"+hashOfX+"\nBob B.:"+y+"\nzoë@corp.example:"+b)
	if err != nil || fmt.Sprint(u.names) != "[alice Bob B. zoë@corp.example]" || string(u.hashes["Bob B."]) != y {
		t.Errorf("%v, %v", u, err)
	}
	if u, err := parseUsers("users", "# nobody\n"); err != nil || len(u.names) > 0 {
		t.Errorf("%v, %v", u, err)
	}
}

// What makes no sense is named by its line, and no hash is ever told.
func TestHostileUsers(t *testing.T) {
	const secret = "VXsTRTPeCtzR2gOFYDOkAO"
	tail := hashOfX[7:]
	for name, line := range map[string]string{
		"no hash":           "bob",
		"empty hash":        "bob:",
		"no name":           ":" + hashOfX,
		"plain":             "bob:" + secret,
		"apr1":              "bob:$apr1$" + secret + "$x",
		"sha1":              "bob:{SHA}" + secret,
		"crypt":             "bob:$6$" + secret + "$x",
		"the broken 2x":     "bob:$2x$04$" + tail,
		"2":                 "bob:$2$04$" + tail,
		"one too short":     "bob:" + hashOfX[:59],
		"one too long":      "bob:" + hashOfX + "x",
		"something behind":  "bob:" + hashOfX + ":" + "x",
		"blank behind":      "bob:" + hashOfX + " ",
		"carriage return":   "bob:" + hashOfX + "\r",
		"cost 15":           "bob:$2a$15$" + tail,
		"cost 31":           "bob:$2a$31$" + tail,
		"cost 99":           "bob:$2a$99$" + tail,
		"cost 3":            "bob:$2a$03$" + tail,
		"twice":             "alice:" + hashOfX,
		"everybody":         "*:" + hashOfX,
		"nobody":            "anonymous:" + hashOfX,
		"tab":               "b\tob:" + hashOfX,
		"NUL":               "b\x00ob:" + hashOfX,
		"escape":            "b\x1b[2Job:" + hashOfX,
		"right to left":     "b\u202eob:" + hashOfX,
		"broken UTF-8":      "b\xffob:" + hashOfX,
		"endless name":      strings.Repeat("b", 256) + ":" + hashOfX,
		"blanks for a line": "  ",
	} {
		_, err := parseUsers("/etc/users", "# who\nalice:"+hashOfX+"\n"+line+"\n")
		var s *SyntaxError
		if !errors.As(err, &s) || s.Line != 3 || s.File != "/etc/users" || !strings.HasPrefix(err.Error(), "/etc/users: line 3: ") {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the hash is told: %v", name, err)
		}
	}
	var many strings.Builder
	for i := range MaxUsers + 1 {
		fmt.Fprintf(&many, "u%d:%s\n", i, hashOfX)
	}
	if _, err := parseUsers("users", many.String()); err == nil {
		t.Error("more users than the limit")
	}
}

func FuzzUsers(f *testing.F) {
	f.Add("alice:" + hashOfX + "\n# \n\nbob:" + hashOfX)
	f.Add("a:b:c\n\xff:\n:\n*:" + hashOfX)
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseUsers("users", text)
		if err != nil {
			var s *SyntaxError
			if !errors.As(err, &s) || s.Line < 1 {
				t.Fatalf("%v", err)
			}
			return
		}
		for _, name := range u.names {
			if checkName(name) != "" || checkHash(string(u.hashes[name])) != "" || !strings.Contains(text, name+":"+string(u.hashes[name])) {
				t.Fatalf("%q was taken in", name)
			}
		}
		if len(u.names) != len(u.hashes) {
			t.Fatal("a name twice")
		}
	})
}
