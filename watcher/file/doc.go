// Package file reads a cluster from manifests: a file, the files of a directory, or standard input, in YAML or
// JSON, as people write them by hand and as `kubectl get -o yaml` prints them. Read does it once; Watch goes on
// and reads again whenever the files change.
//
// # What is read
//
// Service and Node (v1), EndpointSlice (discovery.k8s.io/v1), Endpoints (v1), and lists of them: kind List, the
// typed lists such as ServiceList, and plain arrays. Of the Nodes only the own one counts. Endpoints become
// slices, unless an EndpointSlice of the same Service is there: then the slice wins, as it says more. Other
// kinds, and other versions of these kinds, are skipped with one notice for each.
//
// Of a directory, the files *.yaml, *.yml and *.json are read, in the order of their names. As with kubectl,
// directories within it are not read; hidden files (.*) are not read either, which leaves out what editors and
// the kubelet keep next to the real files. Symbolic links are followed.
//
// # What an API server would have filled in
//
// Raw manifests have not been through its defaulting. This package fills in metadata.namespace, which is
// "default", and spec.ipFamilies, which follows from spec.clusterIPs. Package convert has the defaults of the
// other fields: clusterIP and clusterIPs stand for each other, type ClusterIP, protocol TCP, the empty port name
// of a slice, no session affinity (three hours if there is one), both traffic policies Cluster, and endpoints
// that are ready. Nothing invents addresses and ports: a Service without a cluster IP is left out, with a
// Problem.
//
// # What happens to bad input
//
// It comes in three degrees. A Notice is a line for the operator about something that was left out on purpose,
// or a field that nobody knows (kubectl warns of these, too). A Problem costs one object or a part of it, as in
// every source; an object that is there twice is one: the first one counts. An error means that the input may
// not be what was meant: text that is not YAML or JSON, a field of the wrong type, a document without a kind, a
// file of no bytes, which is what a file looks like while it is being written. Errors name file and line, come
// all at once, and cost the whole reading: Watch keeps what it read last.
//
// The text may be hostile. It is bounded in size before and after the expansion of YAML aliases, and a panic of
// the YAML parser is an error of the document.
//
// # What this package does not know
//
// It does not know the meaning of the fields, which is convert's, nor the state that was before, which is the
// Tracker's. It does not poll: on file systems that report no changes, such as NFS, Watch sees only those that
// this machine makes.
package file
