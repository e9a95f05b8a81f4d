package recurring

import "testing"

func TestProblem(t *testing.T) {
	var p Problem
	if after := p.Gone(); after != "" {
		t.Errorf("without a problem: %q", after)
	}
	for i, step := range []struct {
		text string
		news bool
	}{{"no answer", true}, {"no answer", false}, {"no route", true}, {"no route", false}, {"no answer", true}} {
		if news := p.News(step.text); news != step.news {
			t.Errorf("%d: %q is news: %v", i, step.text, news)
		}
	}
	if after := p.Gone(); after != "5 failed attempts" {
		t.Errorf("got %q", after)
	}
	if after := p.Gone(); after != "" {
		t.Errorf("once it has gone: %q", after)
	}
	if !p.News("no answer") {
		t.Error("what comes back is no news")
	}
	if after := p.Gone(); after != "1 failed attempt" {
		t.Errorf("got %q", after)
	}
}
