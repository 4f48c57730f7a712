# Prints the user and whether containerd is accessible.
emit user "$(id -un)"
report_containerd
