package apply

import (
	"testing"

	"service-manager/units/name"
)

func digestOfText(document string) (string, error) {
	d, err := parseDraft([]byte(document))
	if err != nil {
		return "", err
	}
	return d.digest()
}

func TestDraft(t *testing.T) {
	const rev = "3-0123456789abcdef0123456789abcdef"
	want, err := digestOfText(`{"port": 80, "image": "a<b>&", "n": 12345678901234567890}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, same := range []string{
		`{"image":"a<b>&","n":12345678901234567890,"port":80}`,
		"{\"_id\": \"web\", \"_rev\": \"1-x\",\n\t\"image\": \"a\\u003cb>&\", \"n\": 12345678901234567890, \"port\": 80}\n",
	} {
		if got, err := digestOfText(same); err != nil || got != want {
			t.Errorf("digest(%s) = %s, %v; want %s", same, got, err, want)
		}
	}
	if got, _ := digestOfText(`{"image": "a<b>&", "n": 12345678901234567891, "port": 80}`); got == want {
		t.Errorf("digest does not see the last digit of a large number")
	}
	d, err := parseDraft([]byte(`{"port": 80, "n": 12345678901234567890}`))
	if err != nil {
		t.Fatal(err)
	}
	named, err := d.named(name.Revision{Service: "web", Rev: rev})
	if want := "{\n  \"_id\": \"web\",\n  \"_rev\": \"" + rev + "\",\n  \"n\": 12345678901234567890,\n  \"port\": 80\n}\n"; err != nil || string(named) != want {
		t.Errorf("named = %s, %v; want %s", named, err, want)
	}
	for _, bad := range []string{"", "null", "[]", "{"} {
		if _, err := digestOfText(bad); err == nil {
			t.Errorf("digest(%q) = nil; want an error", bad)
		}
	}
}
