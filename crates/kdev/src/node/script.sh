# What kdev does on a node, as POSIX sh. The caller passes
#   NONCE VERB SUDO RUNTIME [ARGUMENTS]
# and reads only lines that begin with the nonce, so that whatever else a
# login shell prints does no harm. Verbs:
#   probe                          who is this, who am I, and may I talk to
#                                  containerd?
#   checkup                        how is it with this machine, its containerd, and
#                                  what a load needs?
#   stock BASE...                  which images are called like these, in each of
#                                  containerd's namespaces?
#   load NAME CONFIG PLATFORM LOCAL SNAPSHOTTER DIGEST...
#                                  is this image here, and the CRI sees it? If
#                                  not: which of these layers are? Then, as
#                                  stdin's first line says, import the rest of
#                                  it, and prove that, or undo it
nonce=$1 verb=$2 sudo=$3 runtime=$4
shift 4
# Words are split here and there, and never meant as patterns.
set -f
say() { printf '%s %s\n' "$nonce" "$*"; }
# A lost connection or an interrupt must not keep an import from being undone.
trap '' HUP PIPE
trap : TERM INT
say hello

# Where a program lies, even if the login shell's PATH does not reach it.
find_program() {
	command -v "$1" && return
	for folder in /usr/local/bin /usr/bin /usr/sbin /opt/bin /snap/bin; do
		[ -x "$folder/$1" ] && printf '%s\n' "$folder/$1" && return
	done
	return 1
}
# The containerd of the kubelet: a machine may have others. $words belong to
# the call, between program and options.
program=ctr words= snapshotter=
# Where runtimes listen, for a checkup.
sockets='/run/containerd/containerd.sock /run/k3s/containerd/containerd.sock
	/var/snap/microk8s/common/run/containerd.sock /run/k0s/containerd.sock
	/run/crio/crio.sock /run/cri-dockerd.sock'
case $runtime in
containerd) socket=/run/containerd/containerd.sock root=/var/lib/containerd ;;
k3s)
	socket=/run/k3s/containerd/containerd.sock root=/var/lib/rancher/k3s/agent/containerd
	program=k3s words=ctr
	# RKE2 has the same runtime, and no k3s.
	find_program k3s >/dev/null || {
		program=/var/lib/rancher/rke2/bin/ctr words="--address $socket"
		root=/var/lib/rancher/rke2/agent/containerd
	}
	;;
microk8s)
	socket=/var/snap/microk8s/common/run/containerd.sock
	root=/var/snap/microk8s/common/var/lib/containerd
	program=microk8s words=ctr
	;;
k0s)
	socket=/run/k0s/containerd.sock root=/var/lib/k0s/containerd
	program=k0s words=ctr
	;;
*)
	socket= root=
	program=${runtime%% *}
	words=${runtime#"$program"}
	;;
esac
one_line() { printf '%s' "$1" | tr '\n\t\r' '   '; }
# What tells something even where there is no containerd to talk to.
if [ "$verb" = checkup ]; then
	say machine "$(cat /etc/machine-id 2>/dev/null)"
	say boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
	say time "$(date +%s)"
	say user "$(id -un)"
	say socket "$socket"
	for other in $sockets; do [ -S "$other" ] && say listens "$other"; done
	say disk "$root" "$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $2, $4 }')"
	for tool in zstd gzip flock; do command -v "$tool" >/dev/null && say tool "$tool"; done
fi
ctr=$(find_program "$program") || { say no-ctr "$program"; exit 0; }
say ctr $ctr $words
if [ "$sudo" = auto ]; then
	sudo=yes
	{ [ "$(id -u)" = 0 ] || [ -w "$socket" ]; } && sudo=no
fi
ct_in() {
	namespace=$1
	shift
	if [ "$sudo" = yes ]; then sudo -n "$ctr" $words -n "$namespace" "$@"; else "$ctr" $words -n "$namespace" "$@"; fi
}
ct_stdin() { ct_in k8s.io "$@"; }
# stdin is for the import: a sudo that uses a terminal of its own would read it.
ct() { ct_stdin "$@" </dev/null; }
# Of the containerd, or why there is none to be had.
introduce() {
	if answer=$(ct version 2>&1); then
		say sudo "$sudo"
		say versions "$(one_line "$answer")"
		# The CRI may unpack elsewhere than `ctr` does: its containers tell.
		set -- $(ct containers ls -q 2>/dev/null)
		[ $# = 0 ] || say snapshotter "$(ct containers info "$1" 2>/dev/null |
			sed -n 's/.*"Snapshotter": *"\([a-z0-9.-]*\)".*/\1/p')"
	else
		# Without the versions that it has printed before it failed.
		case $answer in *'ctr: '*) answer="ctr: ${answer#*ctr: }" ;; esac
		say no-access "$(one_line "$answer")"
		return 1
	fi
}
# The CRI keeps a second name, the config digest itself. Where both stand for
# the same manifest, which is unpacked, the name has the wanted configuration
# and the CRI has seen it.
look() {
	set -- $(ct images check $snapshotter "name==\"$name\"" "name==\"$config\"" 2>/dev/null | awk -v name="$name" -v config="$config" '
		BEGIN { old = before = unpacked = "-" }
		$1 == name { old = $3; unpacked = $NF }
		$1 == config { before = $3 }
		END { print old, before, unpacked }')
	old=${1#-} before=${2#-} unpacked=$3
}
proven() {
	look
	[ -n "$old" ] && [ "$old" = "$before" ] && [ "$unpacked" = true ]
}
# A containerd that has died is started again soon, and what the import has left
# there must go then.
wait_for_containerd() {
	tries=0
	until ct version >/dev/null 2>&1 || [ "$tries" -ge 30 ]; do
		tries=$((tries + 1))
		sleep 1
	done
}
# Leaves no name behind that stands for what was not proven. What the name
# stood for before, $1, it stands for again; $2 is the same for the CRI's name.
restore() {
	other=
	[ -n "$1" ] && other=$(ct images ls "target.digest==$1" 2>/dev/null | awk 'NR == 2 { print $1 }')
	case $other in
	"$name") ;;
	'') ct images rm "$name" >/dev/null 2>&1 ;;
	*) ct images tag --force "$other" "$name" >/dev/null 2>&1 ;;
	esac
	[ -n "$2" ] || ct images rm "$config" >/dev/null 2>&1
}

# The images of a namespace that are called like one of the rest: the last part
# of their path is the same, but for its case.
called_like() {
	ct_in "$1" images ls -q </dev/null 2>/dev/null | awk -v bases=" $2 " '{
		base = tolower($0)
		sub(/@.*/, "", base); sub(/.*\//, "", base); sub(/:.*/, "", base)
		if (index(bases, " " base " ")) print
	}'
}
# Lists the images that match these filters.
found() {
	namespace=$1
	shift
	[ $# = 0 ] || ct_in "$namespace" images ls "$@" </dev/null 2>/dev/null | awk -v nonce="$nonce" -v namespace="$namespace" '
		NR > 1 && match($0, / sha256:[0-9a-f]+ /) {
			platforms = "-"
			for (i = 4; i <= NF; i++) if ($i ~ /^[a-z0-9]+\/[a-z0-9,\/]+$/) { platforms = $i; break }
			print nonce, "found", namespace, $1, substr($0, RSTART + 1, RLENGTH - 2), platforms
		}'
}

case $verb in
stock)
	[ -z "$1" ] || snapshotter="--snapshotter $1"
	shift
	for space in $(ct namespaces ls -q 2>/dev/null); do
		names=$(called_like "$space" "$*")
		[ "$space" = k8s.io ] && ours=$names
		filters=
		for name in $names; do filters="$filters name==\"$name\""; done
		found "$space" $filters
	done
	filters=
	for name in $ours; do filters="$filters name==\"$name\""; done
	[ -z "$filters" ] || ct images check $snapshotter $filters 2>/dev/null | awk -v nonce="$nonce" '
		NR > 1 { print nonce, "checked", $1, $4, $NF }'
	# The names that the CRI gives: digests of configurations.
	[ -z "$filters" ] || found k8s.io $(ct images ls $filters 2>/dev/null | awk '
		NR > 1 { for (i = 2; i <= NF; i++) if ($i ~ /^sha256:/) { print "name~=^sha256:,target.digest==" $i; break } }')
	;;
probe)
	say machine "$(cat /etc/machine-id 2>/dev/null)"
	say user "$(id -un)"
	introduce
	;;
checkup)
	introduce || exit 0
	for space in $(ct namespaces ls -q 2>/dev/null); do say namespace "$space"; done
	say cri "$(ct plugins ls 2>/dev/null | awk '$1 == "io.containerd.grpc.v1" && $2 == "cri" { print $NF }')"
	# The rule may allow other verbs, and not the import: sudo only looks it up.
	if [ "$sudo" = yes ]; then
		said=$(sudo -n -l "$ctr" $words -n k8s.io image import --platform linux/amd64 - 2>&1 </dev/null) ||
			say no-import "$(one_line "$said")"
	fi
	;;
load)
	name=$1 config=$2 platform=$3 local=$4
	[ -z "$5" ] || snapshotter="--snapshotter $5"
	shift 5
	# One at a time: an import that fails must not take away a name that
	# another one is about to prove. Any file that all users can read will do.
	if command -v flock >/dev/null && [ -r /etc/machine-id ]; then
		exec 9</etc/machine-id
		flock -n 9 || {
			# What is there already needs no import, and does not wait for one.
			if proven; then say present; exit 0; fi
			say waiting
			flock 9
		}
	fi
	if proven; then say present; exit 0; fi
	was=$old was_config=$before
	say room "$(df -Pk "$root" 2>/dev/null | awk 'NR == 2 { print $4 }')"
	for tool in zstd gzip; do command -v "$tool" >/dev/null && say "$tool"; done
	# Of what is asked for, what is here: unpacked, or as a blob.
	ct snapshots $snapshotter ls 2>/dev/null | awk -v nonce="$nonce" -v asked=" $* " '
		$NF == "Committed" && index(asked, " " $1 " ") { print nonce, "snapshot", $1 }'
	ct content ls 2>/dev/null | awk -v nonce="$nonce" -v asked=" $* " '
		match($0, /containerd.io\/uncompressed=sha256:[0-9a-f]+/) {
			diff_id = substr($0, RSTART + 27, RLENGTH - 27)
			if (index(asked, " " diff_id " ")) print nonce, "blob", $1, $2, diff_id
		}'
	say asked
	# The answer: how the stream is compressed, and perhaps the blob that it is
	# a patch against, if that can be read.
	read -r codec dictionary || exit 0
	case $codec in
	zstd) decode='zstd -dcq' ;;
	gzip) decode='gzip -dc' ;;
	*) decode=cat ;;
	esac
	if [ -n "$dictionary" ]; then
		umask 077
		# In memory where that is possible.
		scratch=$(mktemp -p /dev/shm kdev.XXXXXX 2>/dev/null || mktemp)
		trap 'rm -f "$scratch"' EXIT
		ct content get "$dictionary" >"$scratch" 2>/dev/null
		case sha256:$(sha256sum <"$scratch") in
		"$dictionary "*) say patch; decode="zstd -dcq --long=27 --patch-from=$scratch" ;;
		esac
	fi
	say ready
	# While nothing else is said: else this end would not learn for hours that
	# the other one has gone, and would keep the lock.
	while sleep 10 >/dev/null 2>&1 9>&- && say alive; do :; done &
	heart=$!
	set -- $snapshotter --platform "$platform"
	[ "$local" = yes ] && set -- "$@" --local
	said=$({ $decode | ct_stdin image import "$@" - >/dev/null; } 2>&1) && code=0 || code=$?
	kill "$heart" 2>/dev/null
	# A name that moves keeps the CRI's label, and the CRI of 1.x looks only at
	# names without it.
	[ "$code" = 0 ] && [ -n "$was" ] && ct images label "$name" io.cri-containerd.image= >/dev/null 2>&1
	[ "$code" = 0 ] || wait_for_containerd
	tries=0
	while ! proven; do
		# The CRI hears of an image by an event, a moment later.
		[ "$code" = 0 ] && [ "$tries" -lt 200 ] || {
			restore "$was" "$was_config"
			say failed "$code" "$(one_line "$said")"
			exit 0
		}
		tries=$((tries + 1))
		sleep 0.05 2>/dev/null || sleep 1
	done
	say loaded
	;;
esac
