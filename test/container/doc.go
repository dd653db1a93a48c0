// Package container runs a program as a container runtime would: in namespaces of its own for processes and mounts, on a
// root file system that has the files of an image, or nothing but the host's programs, read-only, and what is mounted, and
// with the capabilities that it is given and no others. The network namespace is that of who starts it, and there is no seccomp profile.
//
// The one rule to respect: what is allowed comes from the manifest's securityContext, never from what turned out to be
// needed.
package container
