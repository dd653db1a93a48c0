// Package sandbox runs tests inside namespaces of their own (processes, mounts, network), so that whatever they
// start and build ends with them: when they are done, when they are interrupted, and when somebody kills them or
// "go test" with SIGKILL.
//
// The test binary executes itself again. The outer process does nothing but pass signals on and return the exit
// code. The inner one is process 1 of its namespaces: with it the kernel ends all processes, network namespaces,
// rules and files (a tmpfs) that came after. The package does not know what is tested.
//
// The one rule to respect: TestMain calls nothing but os.Exit(sandbox.Main(…)), because everything before that call
// also happens outside.
package sandbox
