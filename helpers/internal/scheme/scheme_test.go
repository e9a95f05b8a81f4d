package scheme

import "testing"

func TestList(t *testing.T) {
	for want, kinds := range map[string]map[string]int{
		"":                                     nil,
		"tcp://":                               {"tcp": 1},
		"http:// or tcp://":                    {"tcp": 1, "http": 2},
		"http://, https://, tcp:// or unix://": {"unix": 1, "tcp": 2, "https": 3, "http": 4},
	} {
		if got := List(kinds); got != want {
			t.Errorf("%v: %q; want %q", kinds, got, want)
		}
	}
}
