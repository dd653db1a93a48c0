// Package watcher folds what a source reports (an API server, a directory of files, a generator) into
// immutable snapshots of the cluster, and says what changed and since when.
//
// The Tracker runs no goroutine, knows no API objects and does not know where its values come from: sources
// call Set, Delete and Replace; each reader has a View of one family, waits on its channel and takes a snapshot
// when it likes. What a change costs grows with the Services that changed, but for one copy of the table of
// Services.
//
// The one rule to respect: a value given to the Tracker, or taken from it, is never changed again. Snapshots
// share everything that did not change: an unchanged Service is the same pointer, unchanged Backends are the
// same map.
package watcher
