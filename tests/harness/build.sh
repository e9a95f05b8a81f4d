#!/bin/bash
# build.sh - makes the parts of a test machine out of Debian packages.
#
#   build.sh qemu DIR            an emulator, unpacked into DIR
#   build.sh nginx DIR           DIR/rootfs.tar, nginx and what it needs to run in a container
#   build.sh postgresql DIR      DIR/rootfs.tar, the same for PostgreSQL
#   build.sh root DIR RELEASE    DIR/root, vmlinuz, initrd.img, id_ed25519: a Debian RELEASE to boot
#   build.sh disk DIR ROOT       DIR/root.raw, a disk with the files below ROOT
#
# Needs root. Run by package harness, which caches what comes out.
set -euo pipefail

# The machine's own Debian archive, as apt sees it, for another release: a host that
# configured a mirror, a proxy or a cache for this machine gets it here too.
sources() {
  local own release=$1 keyring=/usr/share/keyrings/debian-archive-keyring.gpg list
  own=$(. /etc/os-release; echo "$VERSION_CODENAME")
  list() {
    apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)' 'Created-By: Packages' |
      awk -F'|' -v own="$own" -v release="$release" -v keyring="$keyring" '
        $1 == "Debian" && ($3 == own || index($3, own "-") == 1) && $4 == "main" {
          print "deb [signed-by=" keyring "] " $2 " " release substr($3, length(own) + 1) " " $4
        }' | sort -u
  }
  # Before the first `apt-get update` apt does not know whose archive is whose.
  [ -n "$(list)" ] || apt-get update -qq >&2
  list
  [ -n "$(list)" ] || { echo "build.sh: no Debian archive for $own in apt's configuration; add one to /etc/apt/sources.list.d and run apt-get update" >&2; exit 1; }
}

# debootstrap VARIANT RELEASE PACKAGES TARGET, with the machine's apt settings
# for reaching its archive, without documentation.
debootstrap() {
  local option acquire=()
  while read -r option; do acquire+=(--aptopt="$option"); done < <(apt-config dump | grep -E '^Acquire::(http|https|Retries)' | grep -v '""')
  mmdebstrap --quiet --mode=root --variant="$1" --include="$3" --aptopt='APT::Install-Recommends "false"' ${acquire[@]+"${acquire[@]}"} \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$2" "$4" - < <(sources "$2")
}

# Debian 13's QEMU 10 emulates 1.7 times faster than Debian 12's 7.2. It is only
# unpacked, and runs through its own dynamic loader on any Debian.
qemu() {
  debootstrap extract trixie qemu-system-x86,qemu-utils "$1/root"
  rm -rf "$1/root"/{dev,proc,sys,etc,var,tmp} "$1/root"/usr/share/{icons,fonts}
}

# A container image as a distribution would make it: Debian's nginx, a shell
# entrypoint that turns the environment into configuration. Unpacked without
# installing, so 33 MB instead of 150.
nginx() {
  local R=$1/root
  debootstrap extract bookworm nginx,nginx-common,dash "$R"
  rm -rf "$R"/{dev,proc,sys,tmp} "$R"/etc/nginx/{sites-enabled,modules-enabled}/* "$R"/var/{cache,lib}/{apt,dpkg}
  mkdir -p "$R"/{dev,proc,sys,run,tmp,etc/nginx/conf.d,usr/share/nginx/html,var/log/nginx,var/lib/nginx}
  chmod 1777 "$R/tmp"
  printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n' > "$R/etc/passwd"
  printf 'root:x:0:\nwww-data:x:33:\n' > "$R/etc/group"
  ln -sf /dev/stdout "$R/var/log/nginx/access.log"
  ln -sf /dev/stderr "$R/var/log/nginx/error.log"
  cat > "$R/docker-entrypoint" <<'X'
#!/bin/sh
# REVISION is shown in the X-Revision header and, unless a volume brings an
# index page, in the index page.
set -eu
: "${REVISION:=none}" "${PORT:=80}"
cat_config() {
  printf 'server {\n  listen %s default_server;\n  listen [::]:%s default_server ipv6only=on;\n' "$PORT" "$PORT"
  printf '  root /usr/share/nginx/html;\n  add_header X-Revision "%s" always;\n' "$REVISION"
  printf '  location = /health { return 200 "ok\\n"; }\n}\n'
}
cat_config > /etc/nginx/conf.d/default.conf
[ -e /usr/share/nginx/html/index.html ] || printf 'nginx, revision %s\n' "$REVISION" > /usr/share/nginx/html/index.html
exec /usr/sbin/nginx -g 'daemon off;'
X
  chmod 755 "$R/docker-entrypoint"
  rm -f "$R/usr/share/nginx/html/index.html"
  tar -C "$R" --numeric-owner -cf "$1/rootfs.tar" .
  rm -rf "$R"
}

# Debian's PostgreSQL, as a container with its data on the volume /var/lib/postgresql.
postgresql() {
  local R=$1/root
  debootstrap extract bookworm postgresql-15,postgresql-client-15,dash,coreutils,util-linux,libc-bin "$R"
  # What it compiles queries with is as large as all else.
  rm -rf "$R"/{dev,proc,sys,tmp} "$R"/usr/lib/postgresql/15/lib/{llvmjit.so,bitcode} "$R"/usr/lib/*/libLLVM* "$R"/usr/lib/llvm* \
    "$R"/usr/lib/*/libz3* "$R"/usr/lib/*/perl* "$R"/usr/share/{perl*,i18n,locale} "$R"/var/{cache,lib}/{apt,dpkg}
  mkdir -p "$R"/{dev,proc,sys,run,tmp,var/lib/postgresql}
  chmod 1777 "$R/tmp"
  printf 'root:x:0:0:root:/root:/bin/sh\npostgres:x:70:70::/var/lib/postgresql:/bin/sh\n' > "$R/etc/passwd"
  printf 'root:x:0:\npostgres:x:70:\n' > "$R/etc/group"
  cat > "$R/docker-entrypoint" <<'X'
#!/bin/sh
set -eu
PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin
data=/var/lib/postgresql/data
as="setpriv --reuid=70 --regid=70 --clear-groups"
chown postgres:postgres /var/lib/postgresql
if [ ! -s $data/PG_VERSION ]; then
  $as initdb --auth=trust --encoding=UTF8 --locale=C --pgdata=$data
  echo 'host all all all trust' >> $data/pg_hba.conf
fi
exec $as postgres -D $data -c listen_addresses='*' -c unix_socket_directories=/tmp
X
  chmod 755 "$R/docker-entrypoint"
  tar -C "$R" --numeric-owner -cf "$1/rootfs.tar" .
  rm -rf "$R"
}

packages=systemd,systemd-sysv,udev,dbus,docker.io,docker-registry,ipvsadm,iptables,nftables,ufw,firewalld,nginx,haproxy,caddy,curl,iproute2,iputils-ping,jq,openssh-server,kmod,procps,psmisc,ca-certificates,openssl,conntrack,tcpdump,strace,less,e2fsprogs,gawk,socat,linux-image-cloud-amd64

root() {
  local R=$1/root release=$2 kernel
  case $release in
    bookworm) ;;
    trixie) packages=$packages,docker-cli ;;
    *) echo "build.sh: release $release: only bookworm and trixie are known" >&2; exit 2 ;;
  esac
  debootstrap minbase "$release" "$packages" "$R"
  ssh-keygen -q -t ed25519 -N '' -C guest -f "$1/id_ed25519"
  customize "$R" "$1/id_ed25519.pub" "$release"
  kernel=$(ls "$R/lib/modules" | head -1)
  cp "$R/boot/vmlinuz-$kernel" "$1/vmlinuz"
  initramfs "$R" "$kernel" "$1/initrd.img"
  rm -f "$R"/boot/initrd.img* "$R"/boot/System.map* "$R"/boot/vmlinuz*
}

disk() {
  truncate -s 8G "$1/root.raw"
  # A journal, so that a power cut is one that the file system is made for.
  mke2fs -q -F -t ext4 -O has_journal -J size=64 -E lazy_itable_init=1,lazy_journal_init=1 -m 0 -d "$2" "$1/root.raw"
}

customize() {
  local R=$1 U=$1/etc/systemd/system u
  echo vmguest > "$R/etc/hostname"
  printf '127.0.0.1 localhost vmguest\n::1 localhost\n' > "$R/etc/hosts"
  : > "$R/etc/fstab"
  rm -f "$R/etc/resolv.conf"; echo 'nameserver 127.0.0.1' > "$R/etc/resolv.conf"
  rm -f "$R/etc/machine-id"; echo 0123456789abcdef0123456789abcdef > "$R/etc/machine-id"
  rm -f "$R/etc/apt/apt.conf.d/99mmdebstrap" "$R"/etc/apt/sources.list "$R"/etc/apt/sources.list.d/*
  mkdir -p -m 700 "$R/root/.ssh"
  install -m 600 "$2" "$R/root/.ssh/authorized_keys"
  chroot "$R" passwd -d root >/dev/null
  mkdir -p "$R"/etc/{ssh/sshd_config.d,systemd/network,modules-load.d,modprobe.d,sysctl.d,docker,systemd/journald.conf.d}
  printf 'UseDNS no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\nUsePAM no\nMaxSessions 64\nMaxStartups 64\nHostKey /etc/ssh/ssh_host_ed25519_key\nPrintMotd no\n' > "$R/etc/ssh/sshd_config.d/guest.conf"
  # Waiting for the machine to boot means many connections, too many for newer servers.
  [ "$3" = bookworm ] || echo 'PerSourcePenalties no' >> "$R/etc/ssh/sshd_config.d/guest.conf"
  rm -f "$R"/etc/ssh/ssh_host_*
  ssh-keygen -q -t ed25519 -N '' -f "$R/etc/ssh/ssh_host_ed25519_key"
  printf '[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n' > "$R/etc/systemd/network/10-eth0.network"
  printf '[Match]\nName=docker* br-* veth*\n[Link]\nUnmanaged=yes\n' > "$R/etc/systemd/network/05-docker.network"
  printf 'br_netfilter\noverlay\nveth\n' > "$R/etc/modules-load.d/guest.conf"
  # Never useful in this guest, and udev would spend seconds on them under emulation.
  for u in kvm_amd kvm_intel kvm powernow_k8 acpi_cpufreq i2c_i801 lpc_ich iTCO_wdt psmouse pcspkr button evdev serio_raw; do
    echo "blacklist $u"
  done > "$R/etc/modprobe.d/guest.conf"
  printf 'net.ipv4.ip_forward=1\n' > "$R/etc/sysctl.d/90-guest.conf"
  printf '{"storage-driver":"overlay2","exec-opts":["native.cgroupdriver=systemd"],"log-driver":"json-file"}\n' > "$R/etc/docker/daemon.json"
  printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=64M\nRateLimitIntervalSec=0\n' > "$R/etc/systemd/journald.conf.d/guest.conf"
  mkdir -p "$U/multi-user.target.wants"
  ln -sf /lib/systemd/system/systemd-networkd.service "$U/multi-user.target.wants/"
  # Firewalls and proxies, for tests that start them.
  rm -f "$U"/*.wants/{ufw,firewalld,nginx,haproxy,caddy}.service
  # A registry to pull from, for tests that start it: anyone may push.
  rm -f "$U"/*.wants/docker-registry.service
  printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: /var/lib/docker-registry}}\nhttp: {addr: "127.0.0.1:5000"}\n' > "$R/etc/docker/registry/config.yml"
  for u in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service \
    systemd-networkd-wait-online.service systemd-firstboot.service systemd-pstore.service systemd-random-seed.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-hwdb-update.service systemd-journal-catalog-update.service \
    ldconfig.service getty@tty1.service getty-static.service serial-getty@ttyS0.service nftables.service ipvsadm.service \
    modprobe@efi_pstore.service modprobe@drm.service modprobe@configfs.service modprobe@fuse.service modprobe@dm_mod.service modprobe@loop.service \
    dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount dev-mqueue.mount systemd-remount-fs.service ssh.socket; do
    ln -sf /dev/null "$U/$u"
  done
  ln -sf /lib/systemd/system/multi-user.target "$U/default.target"
}

# Debian's cloud kernel has its disk and file system drivers as modules: an
# initramfs of busybox and just those boots in a second where Debian's own
# takes ten under emulation.
initramfs() {
  local R=$1 kernel=$2 out=$3 T n=10 module name
  T=$(mktemp -d)
  mkdir -p "$T"/{bin,mods,proc,sys,dev,root}
  cp /bin/busybox "$T/bin/busybox"
  for module in $(for m in virtio_pci virtio_blk ext4; do
      chroot "$R" /sbin/modprobe -S "$kernel" --show-depends $m 2>/dev/null | awk -v r="$R" '/^insmod/{print r $2}'
    done | awk '!seen[$0]++'); do
    name=$n-$(basename "$module"); n=$((n + 1))
    case $module in
      *.xz) xz -dc "$module" > "$T/mods/${name%.xz}" ;;
      *.zst) zstd -qdc "$module" > "$T/mods/${name%.zst}" ;;
      *) cp "$module" "$T/mods/$name" ;;
    esac
  done
  cat > "$T/init" <<'X'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for m in /mods/*; do /bin/busybox insmod $m; done
n=0; while [ ! -b /dev/vda ] && [ $n -lt 500 ]; do /bin/busybox usleep 20000; n=$((n+1)); done
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root || exec /bin/busybox sh
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /lib/systemd/systemd
X
  chmod +x "$T/init"
  (cd "$T" && find . | cpio -o -H newc --quiet) > "$out"
  rm -rf "$T"
}

case ${1:-} in
  qemu | nginx | postgresql | root | disk) "$@" ;;
  *) sed -n 2,10p "$0" >&2; exit 2 ;;
esac
