package name

import (
	"strings"
	"testing"
)

const rev = "3-9ab31f5c0e8d4b7a6c5d4e3f2a1b0c9d"

func TestParse(t *testing.T) {
	for s, good := range map[string]bool{
		"web": true, "0": true, "a-b-1": true, "web-": true, strings.Repeat("a", 63): true,
		"": false, "manager": false, "-a": false, "Web": false, "a_b": false, "a.b": false, "a/b": false, "..": false,
		"a@b": false, "ä": false, "a\n": false, strings.Repeat("a", 64): false,
	} {
		if service, err := ParseService(s); (err == nil) != good || good && string(service) != s {
			t.Errorf("ParseService(%q) = %q, %v; want good %v", s, service, err, good)
		}
	}
	for s, good := range map[string]bool{
		rev: true, "123456789012345678-" + rev[2:]: true,
		"": false, "current": false, "0" + rev[1:]: false, rev[2:]: false, rev + "0": false, rev[:33]: false, "3-" + strings.Repeat("A", 32): false,
		"x" + rev[1:]: false, "1234567890123456789-" + rev[2:]: false, "3-../../../../../../../etc/passwd": false,
	} {
		if r, err := ParseRev(s); (err == nil) != good || good && string(r) != s {
			t.Errorf("ParseRev(%q) = %q, %v; want good %v", s, r, err, good)
		}
	}
}

func TestParseUnit(t *testing.T) {
	for unit, want := range map[string]string{
		"postgresql@" + rev + ".service": "",
		"postgresql@" + rev + ":2":       "",
		"postgresql@" + rev + ":17":      "",
		"postgresql@" + rev + ":1":       "REVISION: must be followed by nothing, or by a number from :2 to :17",
		"postgresql@" + rev + ":18":      "REVISION: must be followed by nothing, or by a number from :2 to :17",
		"postgresql@" + rev + ":02":      "REVISION: must be followed by nothing, or by a number from :2 to :17",
		"postgresql@" + rev + ":":        "REVISION: must be followed by nothing, or by a number from :2 to :17",
		"postgresql@" + rev:              "",
		"postgresql@manager.service":     "REVISION: must be a generation",
		"postgresql@15-main.service":     "REVISION: must be a generation",
		"postgresql@.service":            "REVISION: must be a generation",
		"@" + rev + ".service":           "SERVICE: must be made of",
		"../x@" + rev:                    "SERVICE: must be made of",
		"postgresql":                     "REVISION: must be a generation",
		"sm-start@web@" + rev:            "REVISION: must be a generation",
	} {
		r, err := ParseUnit(unit)
		if err == nil && (want != "" || r.Unit() != strings.TrimSuffix(unit, ".service")+".service") || err != nil && (want == "" || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("ParseUnit(%q) = %q, %v; want %q", unit, r.Unit(), err, want)
		}
	}
}

func TestSubject(t *testing.T) {
	web := Service("web")
	runner := web.Revision(rev).First().Unit()
	for unit, want := range map[string]string{
		Start(runner):                       runner,
		Settle(runner):                      runner,
		Retire(runner):                      runner,
		Start(web.Manager()):                web.Manager(),
		web.Outage():                        "web.service",
		runner:                              runner,
		"sm-web@" + rev:                     "sm-web@" + rev,
		"sm-web@" + rev + ":2":              "sm-web@" + rev + ":2",
		Retire("web@" + rev + ":2.service"): "web@" + rev + ":2.service",
		"docker.service":                    "docker.service",
		"getty@tty1.service":                "getty@tty1.service",
		"sm-sweep.service":                  "sm-sweep.service",
		"sm-start@15.service":               "15.service",
	} {
		if got := Subject(unit); got != want {
			t.Errorf("Subject(%q) = %q; want %q", unit, got, want)
		}
	}
}

func TestCompare(t *testing.T) {
	const two, ten = Rev("2-9ab31f5c0e8d4b7a6c5d4e3f2a1b0c9d"), Rev("10-0ab31f5c0e8d4b7a6c5d4e3f2a1b0c9d")
	if two.Compare(ten) >= 0 || ten.Compare(two) <= 0 || two.Compare(two) != 0 || Rev("").Compare(two) >= 0 {
		t.Error("revisions are not ordered by generation")
	}
}
