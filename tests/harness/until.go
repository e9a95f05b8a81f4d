package harness

import (
	"fmt"
	"time"
)

// Until returns a script that repeats another one until all of its commands succeed.
// It exits with 99 when that takes longer than the limit, and prints what the other
// one said last. It looks ever less often: a machine has one more thing to do for
// each look.
func Until(script string, limit time.Duration) string {
	// A shell of its own: in a condition, a shell continues after commands that fail.
	return fmt.Sprintf(`script=$(mktemp) out=$(mktemp)
cat > $script <<'END-OF-SCRIPT'
%s
END-OF-SCRIPT
end=$((SECONDS + %d)) pause=0.05
until bash -ex $script >$out 2>&1; do
  [ $SECONDS -lt $end ] || { tail -c 2000 $out; exit 99; }
  sleep $pause
  case $pause in 0.05) pause=0.1 ;; 0.1) pause=0.2 ;; *) pause=0.4 ;; esac
done
rm -f $script $out`, script, int(limit.Seconds()))
}
