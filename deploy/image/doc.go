// Package image has the container image: a Dockerfile, and the script that collects what belongs into it from Debian's
// packages. Its tests collect the same files from the packages of this machine, and run the program in them as the
// DaemonSet would: with its command line, its capabilities and its mounts, and a read-only root.
//
// It does not know what the rules are, and no container engine: what a runtime does to a process is in container_test.go,
// but for the system call filter.
//
// The one rule to respect: what the image needs is collected by rootfs.sh, so that the tests see it.
package image
