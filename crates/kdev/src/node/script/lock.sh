# One load or removal at a time: a failed import must not remove a name that another load is
# about to verify, and a removal must not remove one that is not used yet. Any file that all
# users can read can be the lock. Fails if the node cannot lock files.
open_lock() { command -v flock >/dev/null && [ -r /etc/machine-id ] && exec 9</etc/machine-id; }
