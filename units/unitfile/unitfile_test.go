package unitfile

import "testing"

// A file keeps its bytes, however many come behind it and whatever is appended to it.
func TestCut(t *testing.T) {
	var text Text
	for range 2 { // the second time in memory that is used again
		text.Section("Unit")
		first := text.Cut()
		text.Section("Service")
		for range 1000 {
			text.Set("Environment", "A=")
		}
		second := text.Cut()
		if got, want := string(first), "[Unit]\n"; got != want {
			t.Errorf("the first file is %q, want %q", got, want)
		}
		if got, want := len(second), len("[Service]\n")+1000*len("Environment=A=\n"); got != want {
			t.Errorf("the second file has %d bytes, want %d", got, want)
		}
		if _ = append(first, "x"...); second[0] != '[' {
			t.Errorf("what is appended to the first file overwrites the second: %q", second[0])
		}
		if rest := text.Cut(); len(rest) != 0 {
			t.Errorf("nothing was added, but a third file is %q", rest)
		}
		text.Reset()
	}
}
