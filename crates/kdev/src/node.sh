# What kdev does on a node, as POSIX sh. The caller passes
#   NONCE VERB SUDO [ARGUMENTS]
# and reads only lines that begin with the nonce, so that whatever else a
# login shell prints does no harm. Verbs:
#   probe                          who am I, and may I talk to containerd?
#   inventory NAME CONFIG [DIGEST]...
#                                  is this image here, and the CRI sees it? If
#                                  not, which of these layers are?
#   import NAME CONFIG CODEC DICTIONARY [FLAGS]
#                                  import stdin, then prove it, or undo it
nonce=$1 verb=$2 sudo=$3
shift 3
say() { printf '%s %s\n' "$nonce" "$*"; }
# A lost connection or an interrupt must not keep an import from being undone.
trap '' HUP PIPE
trap : TERM INT
say hello

ctr=$(command -v ctr) || for ctr in /usr/local/bin/ctr /usr/bin/ctr /usr/sbin/ctr /opt/bin/ctr ''; do
	[ -x "$ctr" ] && break
done
[ -n "$ctr" ] || { say no-ctr; exit 0; }
say ctr "$ctr"
if [ "$sudo" = auto ]; then
	sudo=yes
	{ [ "$(id -u)" = 0 ] || [ -w /run/containerd/containerd.sock ]; } && sudo=no
fi
ct() {
	if [ "$sudo" = yes ]; then sudo -n "$ctr" -n k8s.io "$@"; else "$ctr" -n k8s.io "$@"; fi
}
one_line() { printf '%s' "$1" | tr '\n\t\r' '   '; }
# The digest of the manifest that a name stands for.
target() { ct images ls "name==\"$1\"" 2>/dev/null | awk 'NR == 2 { print $3 }'; }
unpacked() { ct images check "name==\"$1\"" 2>/dev/null | awk 'NR == 2 { print $NF }'; }
# The CRI keeps a second name, the config digest itself. Where both stand for
# the same manifest, the name has the wanted configuration and the CRI has
# seen it.
proven() {
	found=$(target "$name")
	[ -n "$found" ] && [ "$found" = "$(target "$config")" ] && [ "$(unpacked "$name")" = true ]
}
# Leaves no name behind that stands for what was not proven. What the name
# stood for before, it stands for again.
restore() {
	other=
	[ -n "$old" ] && other=$(ct images ls "target.digest==$old" 2>/dev/null | awk 'NR == 2 { print $1 }')
	case $other in
	"$name") ;;
	'') ct images rm "$name" >/dev/null 2>&1 ;;
	*) ct images tag --force "$other" "$name" >/dev/null 2>&1 ;;
	esac
	[ -n "$before" ] || ct images rm "$config" >/dev/null 2>&1
}

case $verb in
probe)
	say user "$(id -un)"
	if answer=$(ct version 2>&1); then
		say sudo "$sudo"
		say versions "$(one_line "$answer")"
	else
		say no-access "$(one_line "$answer")"
	fi
	;;
inventory)
	name=$1 config=$2
	shift 2
	if proven; then say present; exit 0; fi
	for tool in zstd gzip; do command -v "$tool" >/dev/null && say "$tool"; done
	# Of what is asked for, what is here: unpacked, or as a blob.
	ct snapshots ls 2>/dev/null | awk -v nonce="$nonce" -v asked=" $* " '
		$NF == "Committed" && index(asked, " " $1 " ") { print nonce, "snapshot", $1 }'
	ct content ls 2>/dev/null | awk -v nonce="$nonce" -v asked=" $* " '
		match($0, /containerd.io\/uncompressed=sha256:[0-9a-f]+/) {
			diff_id = substr($0, RSTART + 27, RLENGTH - 27)
			if (index(asked, " " diff_id " ")) print nonce, "blob", $1, $2, diff_id
		}'
	;;
import)
	# The stream comes as CODEC says, or as a patch against the blob
	# DICTIONARY, if that can be read.
	name=$1 config=$2 codec=$3 dictionary=$4
	shift 4
	# One at a time: an import that fails must not take away a name that
	# another one is about to prove. Any file that all users can read will do.
	command -v flock >/dev/null && exec 9</etc/machine-id && flock 9
	proven && { say loaded; exit 0; }
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
	before=$(target "$config") old=$(target "$name")
	say ready
	words=$({ $decode | ct image import "$@" - >/dev/null; } 2>&1) && code=0 || code=$?
	# A name that moves keeps the CRI's label, and the CRI of 1.x looks only at
	# names without it.
	[ "$code" = 0 ] && [ -n "$old" ] && ct images label "$name" io.cri-containerd.image= >/dev/null 2>&1
	tries=0
	while ! proven; do
		# The CRI hears of an image by an event, a moment later.
		[ "$code" = 0 ] && [ "$tries" -lt 100 ] || {
			restore
			say failed "$code" "$(one_line "$words")"
			exit 0
		}
		tries=$((tries + 1))
		sleep 0.1 2>/dev/null || sleep 1
	done
	say loaded
	;;
esac
