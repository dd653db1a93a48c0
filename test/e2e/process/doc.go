// Package process runs a program of a cluster for a test: it keeps what the program prints, and says when it has
// ended. It does not know which program that is, nor in which namespaces it runs: that is in the *exec.Cmd.
//
// The one rule to respect: a process that was started is stopped, or killed, by whoever started it; that it ends with
// the sandbox at the latest is for accidents.
package process
