# Reports how containerd is called and its version, or why it is inaccessible.
report_containerd() {
	if answer=$(ct version 2>&1); then
		emit sudo "$sudo"
		emit versions "$(one_line "$answer")"
		# The CRI may use another snapshotter than `ctr`: its containers show which.
		set -- $(ct containers ls -q 2>/dev/null)
		[ $# = 0 ] || emit snapshotter "$(ct containers info "$1" 2>/dev/null |
			sed -n 's/.*"Snapshotter": *"\([a-z0-9.-]*\)".*/\1/p')"
	else
		# Removes the versions that it printed before it failed.
		case $answer in *'ctr: '*) answer="ctr: ${answer#*ctr: }" ;; esac
		emit no-access "$(one_line "$answer")"
		return 1
	fi
}
