#!/bin/sh
# Stands in for a helper, which is in /usr/local/lib/trapped, and runs
# it, unless a trap is set for this step: a file /run/traps/sm-ipvs.add, say. Then
# the step tells its process id in /run/traps/sm-ipvs.add.pid and waits to be
# killed: before it has done anything, when the file says "before", or after it has
# done all ("after"). With "unready" it does its work and systemd is not told so.
helper=/usr/local/lib/trapped/${0##*/}
step=${0##*/}
case $step in sm-healthcheck) ;; *) step=$step.$1 ;; esac
trap=/run/traps/$step
[ -e "$trap" ] || exec "$helper" "$@"
read -r when <"$trap"
rm "$trap"
case $when in
  after) "$helper" "$@" ;;
  unready)
    echo $$ >"$trap.pid"
    unset NOTIFY_SOCKET
    exec "$helper" "$@" ;;
esac
echo $$ >"$trap.pid.new"
mv "$trap.pid.new" "$trap.pid"
exec sleep infinity
