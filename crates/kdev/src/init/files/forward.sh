
# Without a terminal, nothing could end it.
if [ -t 0 ]; then
	echo 'The port can be forwarded to this machine until Ctrl-C, with: cargo kdev forward' >&2
	yes=
	! confirm || exec cargo kdev forward "$@"
fi
