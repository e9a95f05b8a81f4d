#!/bin/bash
# Installs service-manager on this host, or shows it on a disposable machine.
set -euo pipefail
readonly CALLED_IN=$PWD
cd "$(dirname "$(readlink -f "$0")")"
# Whatever the caller has: after su there is no sbin, and sudo keeps a umask that is strict.
export PATH=$PATH:/usr/sbin:/sbin
umask 022

usage() {
  cat <<'TEXT'
Usage: ./install.sh [--prefix PREFIX]   install on this host, or update it
       ./install.sh --uninstall         remove it; definitions, revisions and
                                        settings stay
       ./install.sh --bundle DIR        build everything into DIR, which installs by
                                        DIR/install.sh without Go or a network
       ./install.sh --demo [--keep] [--install-packages]
                                        show it on a disposable virtual machine,
                                        without touching this one; as root

The helpers go to PREFIX/bin and their manual pages to PREFIX/share/man. Without
--prefix, an update keeps the folder of the installation that it replaces, and a
first installation uses /usr/local. --keep leaves the virtual machine running and
prints how to log in; --install-packages installs the Debian packages that the
machine needs and this host lacks, with apt-get. --version prints this version.
TEXT
}

say()  { printf '%s\n' "$*"; }
# failure MESSAGE: what failed; what stands behind a "; " is the way out.
failure() {
  printf 'install.sh: error: %s\n' "${1%%; *}" >&2
  [ "${1%%; *}" = "$1" ] || printf 'install.sh: hint: %s\n' "${1#*; }" >&2
}
fail() { failure "$*"; exit 1; }
misused() { failure "$*"; usage >&2; exit 2; }

readonly HELPERS="sm-fetch sm-docker-run sm-healthcheck sm-ipvs sm-rollout"
readonly MANUALS="units/service-manager.7 units/host/service-manager.conf.5 units/definition/service-manager.definition.5
  generator/service-manager-generator.8 helpers/sm-fetch/sm-fetch.8 helpers/sm-docker-run/sm-docker-run.8
  helpers/sm-healthcheck/sm-healthcheck.8 helpers/sm-ipvs/sm-ipvs.8 helpers/sm-rollout/sm-rollout.8"
readonly STATIC_UNITS="service-manager.target sm-fetch.service sm-start@.service sm-retire@.service sm-settle@.service sm-scale@.service sm-outage@.service sm-sweep.service sm-watch.service"
readonly UNIT_DIR=/etc/systemd/system
readonly GENERATOR=/etc/systemd/system-generators/service-manager-generator
readonly CONFIG_DIR=/etc/service-manager
readonly MODULES=/etc/modules-load.d/service-manager.conf
readonly NEEDRESTART=/etc/needrestart/conf.d/service-manager.conf

# find_go: a Go that is new enough; the one of the distribution may not be.
find_go() {
  local go version
  for go in "$(command -v go || true)" /usr/local/go/bin/go; do
    version=$("${go:-false}" env GOVERSION 2>/dev/null) || continue
    if printf 'go1.24\n%s\n' "$version" | sort -CV; then printf '%s' "$go"; return; fi
  done
  fail "no Go 1.24 or newer was found; install one, or run install.sh from a bundle that another machine made with --bundle"
}

# version: what this folder would install.
version() {
  if [ -e go.mod ]; then
    git describe --tags --dirty 2>/dev/null || git log -1 --format=%cs-%h 2>/dev/null || echo unknown
  else
    version_in "$PWD"
  fi
}

# version_in PREFIX: the version that is installed there, if any.
version_in() {
  [ ! -x "$1/bin/sm-fetch" ] || { "$1/bin/sm-fetch" --version 2>/dev/null || echo 'an earlier version'; } | sed 's/^sm-fetch //; s/ (.*//'
}

# build FOLDER: everything that an installation needs, below FOLDER.
build() {
  local out=$1 go commit
  go=$(find_go)
  commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo 'unknown commit')
  mkdir -p "$out/bin" "$out/units/examples" "$out/units/definition" "$out/man"
  export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath -buildvcs=false"
  "$go" build -ldflags "-s -w -X service-manager/units/version.text=$(version) -X 'service-manager/units/version.commit=$commit'" -o "$out/bin/" ./generator $(printf './helpers/%s ' $HELPERS)
  mv "$out/bin/generator" "$out/bin/service-manager-generator"
  cp $MANUALS "$out/man/"
  (cd units && cp $STATIC_UNITS "$out/units/")
  cp units/examples/* "$out/units/examples/"
  cp units/rollout.svg "$out/units/"
  cp units/definition/schema.json "$out/units/definition/"
  cp install.sh README.md LICENSE "$out/"
}

require_root() { [ "$(id -u)" = 0 ] || fail "this needs root; run it with sudo"; }

# check names everything that is missing before anything is changed.
check() {
  local missing=() version lack
  version=$(systemctl --version 2>/dev/null | awk 'NR==1 {print $2}') || true
  if [ -z "$version" ] || [ ! -d /run/systemd/system ]; then
    missing+=("systemd does not run this host; service-manager needs a host that systemd has booted")
  elif [ "${version%%[!0-9]*}" -lt 250 ]; then
    missing+=("systemd is $version; 250 or newer is needed (Debian 12, Ubuntu 22.10, RHEL 9)")
  fi
  case $(systemctl show -P LoadState docker.service 2>/dev/null) in
    loaded) ;;
    masked) missing+=("docker.service is masked, so no container can run; run systemctl unmask docker.service") ;;
    *) missing+=("Docker is not installed as docker.service; on Debian, run apt install docker.io") ;;
  esac
  if ! modprobe ip_vs 2>/dev/null && [ ! -e /proc/net/ip_vs ]; then
    missing+=("the kernel has no IPVS: 'modprobe ip_vs' fails; use your distribution's kernel, or build yours with CONFIG_IP_VS")
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    for lack in "${missing[@]}"; do failure "not installed: $lack"; done
    exit 1
  fi
}

# place SOURCE TARGET MODE: replaces a file at once, also a program that runs.
place() {
  mkdir -p "$(dirname "$2")"
  install -m "$3" "$1" "$2.new"
  mv "$2.new" "$2"
}

# set_helpers FOLDER: tells the generator where the helpers are.
set_helpers() {
  local conf=$CONFIG_DIR/service-manager.conf
  rm -f "$conf.new"
  (umask 077 && settings "$conf" "$1" > "$conf.new")
  mv "$conf.new" "$conf"
}

# settings FILE FOLDER: the settings of before, with another folder of helpers.
settings() {
  if [ -e "$1" ]; then
    sed -e '/^HELPERS=/d' -e '$a\' "$1" # ends the last line, if it has no end
  else
    cat <<'TEXT'
# Settings of service-manager, an environment file.

# The CouchDB database with the service definitions. Without it the definitions
# are the files /etc/service-manager/services/*.json.
#COUCHDB_URL=http://user:password@127.0.0.1:5984/services

# Addresses for services whose definitions have none.
#ADDRESSES=172.17.0.1:7000-7999

# How many runners may start at once; four times the processors unless set.
#PARALLEL_STARTS=8
TEXT
  fi
  [ "$2" = /usr/local/bin ] || printf 'HELPERS=%s\n' "$2"
}

install_from() {
  local from=$1 prefix=$2 previous='' file
  [ ! -e $GENERATOR ] || previous=$(installed_prefix)
  mkdir -p -m 755 $CONFIG_DIR
  # Definitions may hold secrets; sm-fetch takes the rest of what earlier releases
  # let others read. Who may edit them is the administrator's choice.
  [ -d $CONFIG_DIR/services ] || mkdir -m 700 $CONFIG_DIR/services
  mkdir -p $CONFIG_DIR/revisions
  chmod 700 $CONFIG_DIR/revisions
  # The units come first: a helper may start one that is new.
  for file in $STATIC_UNITS; do
    sed "s#/usr/local/bin/#$prefix/bin/#g" "$from/units/$file" > "$UNIT_DIR/$file.new"
    chmod 644 "$UNIT_DIR/$file.new"
    mv "$UNIT_DIR/$file.new" "$UNIT_DIR/$file"
  done
  for file in $HELPERS; do place "$from/bin/$file" "$prefix/bin/$file" 755; done
  for file in "$from"/man/*; do place "$file" "$prefix/share/man/man${file##*.}/$(basename "$file")" 644; done
  set_helpers "$prefix/bin"
  printf 'ip_vs\n' > $MODULES
  mkdir -p "${NEEDRESTART%/*}"
  cat <<'TEXT' > $NEEDRESTART
# A runner is the container of a service. An update that replaces a helper, or a
# library, must not restart it: its next revision brings the new one.
$nrconf{override_rc}->{qr(^.+\@(manager|[0-9]+-[0-9a-f]{32}(:[0-9]+)?)\.service$)} = 0;
TEXT
  place "$from/bin/service-manager-generator" $GENERATOR 755
  systemctl daemon-reload
  settle
  systemctl enable --quiet service-manager.target sm-fetch.service sm-sweep.service sm-watch.service
  systemctl start service-manager.target
  systemctl restart sm-fetch.service sm-watch.service
  # From here on no unit names those in the old place.
  [ -z "$previous" ] || [ "$previous/bin" -ef "$prefix/bin" ] || remove_programs "$previous"
}

# generated PATTERN: the units with such a name that the generator has made and
# that are not simply inactive.
generated() {
  local unit
  systemctl list-units --all --plain --no-legend --state=active,activating,deactivating,failed "$1" |
    awk '{print $1}' | while read -r unit; do
      # Other generators write to that folder, too.
      if grep -qsx '# Generated by service-manager-generator.' "/run/systemd/generator/$unit"; then printf '%s ' "$unit"; fi
    done
}

# settle: systemd drops the rest of a start whose commands a reload has changed. Once
# those starts are over, these units see to the runners.
settle() {
  systemctl list-units --plain --no-legend --state=activating '*@*.service' | awk '{print $1}' | while read -r unit; do
    if grep -qs '^ExecStartPost=.*/sm-rollout accept ' "/run/systemd/generator/$unit" "/run/systemd/generator/$unit.d/zz-rollout.conf"; then
      systemctl start --no-block "sm-settle@$unit"
    fi
  done
}

# remove_programs FOLDER: the helpers and manual pages below it.
remove_programs() {
  local prefix=$1 file
  for file in $HELPERS; do rm -f "$prefix/bin/$file"; done
  for file in $MANUALS; do rm -f "$prefix/share/man/man${file##*.}/$(basename "$file")"; done
  [ "$prefix" = /usr/local ] ||
    rmdir "$prefix/bin" "$prefix"/share/man/man[578] "$prefix/share/man" "$prefix/share" "$prefix" 2>/dev/null || true
}

uninstall() {
  local prefix=$1 file units
  systemctl disable --quiet --now sm-fetch.service 2>/dev/null || true
  # Managers stop their runners in order; a runner may run without its manager.
  for file in '*@manager.service' '*@*.service'; do
    units=$(generated "$file")
    if [ -n "$units" ]; then
      say "stopping $units"
      systemctl stop $units || say "some did not stop cleanly; see journalctl -u UNIT"
      systemctl reset-failed $units 2>/dev/null || true # those that systemd has forgotten by now
    fi
  done
  systemctl disable --quiet --now service-manager.target sm-sweep.service sm-watch.service 2>/dev/null || true
  systemctl stop 'sm-settle@*.service' 'sm-outage@*.service' 'sm-hold@*.service' 2>/dev/null || true
  systemctl reset-failed 'sm-settle@*.service' 'sm-outage@*.service' 'sm-hold@*.service' 2>/dev/null || true
  for file in $STATIC_UNITS; do rm -f "$UNIT_DIR/$file"; done
  rm -f $GENERATOR $MODULES $NEEDRESTART
  rmdir "${NEEDRESTART%/*}" "${NEEDRESTART%/*/*}" 2>/dev/null || true
  remove_programs "$prefix"
  systemctl daemon-reload
  rm -rf /run/service-manager
  say "removed; definitions, revisions and settings are still in $CONFIG_DIR"
  units=$(grep -rlwE "${HELPERS// /|}" $UNIT_DIR 2>/dev/null | tr '\n' ' ') || true
  [ -z "$units" ] || say "these still name its helpers, and fail without them: $units"
}

# installed_prefix: where an earlier installation put the helpers.
installed_prefix() {
  local line
  line=$(sed -n 's/^HELPERS=//p' $CONFIG_DIR/service-manager.conf 2>/dev/null | tail -n 1)
  line=${line%/bin}
  printf '%s' "${line:-/usr/local}"
}

# demo INSTALL ARGUMENTS: with INSTALL, missing packages are installed.
demo() {
  local install=$1 missing='' package program
  shift
  [ -e tests/harness/host-packages ] || fail "--demo needs the whole repository, and this is a bundle"
  command -v dpkg-query >/dev/null || fail "--demo builds a virtual machine from Debian packages, and needs a Debian host"
  for package in $(cat tests/harness/host-packages); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
  done
  if [ -n "$missing" ] && [ -z "$install" ]; then
    fail "the virtual machine needs Debian packages that are missing:$missing; run apt-get install --no-install-recommends$missing, or this with --install-packages"
  elif [ -n "$missing" ]; then
    require_root
    say "installing$missing"
    apt-get update -q
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
  fi
  # Built, not "go run", which adds a line about the exit status.
  program=${XDG_CACHE_HOME:-$HOME/.cache}/service-manager/demo
  mkdir -p "${program%/*}"
  "$(find_go)" build -o "$program" ./tests/demo
  exec "$program" "$@"
}

# only_action refuses a second action of main's.
only_action() { [ "$action" = install ] || misused "--$action cannot be combined with another action"; }

main() {
  local action=install prefix='' bundle='' keep='' install=''
  while [ $# -gt 0 ]; do
    case $1 in
      --prefix) [ $# -gt 1 ] || misused "--prefix needs a folder"; prefix=$2; shift ;;
      --prefix=*) prefix=${1#*=} ;;
      --bundle) [ $# -gt 1 ] || misused "--bundle needs a folder"; only_action; action=bundle bundle=$2; shift ;;
      --bundle=*) only_action; action=bundle bundle=${1#*=} ;;
      --uninstall) only_action; action=uninstall ;;
      --demo) only_action; action=demo ;;
      --keep) keep=--keep ;;
      --install-packages) install=yes ;;
      -h|--help) usage; exit 0 ;;
      --version) say "install.sh $(version)"; exit 0 ;;
      *) misused "unknown argument $1" ;;
    esac
    shift
  done
  case $action$bundle in bundle|bundle-*) misused "--bundle needs a folder" ;; esac
  [ $action != bundle ] || [ -z "$prefix" ] || misused "--prefix cannot be combined with --bundle; give it to the install.sh of the bundle"
  [ $action = demo ] || [ -z "$keep$install" ] || misused "--keep and --install-packages need --demo"
  case $prefix in ''|/*) ;; *) misused "--prefix must be an absolute path (got $prefix)" ;; esac
  case $prefix in *[!A-Za-z0-9/._-]*) misused "--prefix must be made of letters, digits and /._- (got $prefix)" ;; esac
  if [ -n "$prefix" ]; then prefix=$(realpath -m -- "$prefix"); fi
  case $action in
    demo) demo "$install" $keep ;;
    bundle)
      [ -e go.mod ] || fail "--bundle needs the whole repository, and this is a bundle; copy it as it is"
      case $bundle in /*) ;; *) bundle=$CALLED_IN/$bundle ;; esac
      mkdir -p "$bundle"
      build "$(readlink -f "$bundle")"
      say "built; install it with $bundle/install.sh" ;;
    uninstall)
      require_root
      uninstall "${prefix:-$(installed_prefix)}" ;;
    install)
      require_root
      check
      prefix=${prefix:-$(installed_prefix)}
      before=$(version_in "$prefix")
      if [ -e go.mod ]; then
        BUILT=$(mktemp -d)
        readonly BUILT
        trap 'rm -rf "$BUILT"' EXIT
        build "$BUILT"
        install_from "$BUILT" "$prefix"
      else
        install_from "$PWD" "$prefix"
      fi
      say "installed $(version_in "$prefix")${before:+, replacing $before,} in $prefix/bin; put a definition into $CONFIG_DIR/services/NAME.json, or set COUCHDB_URL in $CONFIG_DIR/service-manager.conf" ;;
  esac
}

main "$@"
