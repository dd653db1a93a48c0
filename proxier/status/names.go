package status

import "math"

// Names of metrics.
const (
	syncDuration        = "kubeproxy_sync_proxy_rules_duration_seconds"
	fullSyncDuration    = "kubeproxy_sync_full_proxy_rules_duration_seconds"
	partialSyncDuration = "kubeproxy_sync_partial_proxy_rules_duration_seconds"
	lastSync            = "kubeproxy_sync_proxy_rules_last_timestamp_seconds"
	lastQueued          = "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds"
	programming         = "kubeproxy_network_programming_duration_seconds"
	slicesPending       = "kubeproxy_sync_proxy_rules_endpoint_changes_pending"
	sliceEvents         = "kubeproxy_sync_proxy_rules_endpoint_changes_total"
	servicesPending     = "kubeproxy_sync_proxy_rules_service_changes_pending"
	serviceEvents       = "kubeproxy_sync_proxy_rules_service_changes_total"
	restoreFailures     = "kubeproxy_sync_proxy_rules_iptables_restore_failures_total"
	partialFailures     = "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total"
	rulesTotal          = "kubeproxy_sync_proxy_rules_iptables_total"
	rulesLast           = "kubeproxy_sync_proxy_rules_iptables_last"
	noLocalEndpoints    = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
	healthzAnswers      = "kubeproxy_proxy_healthz_total"
	livezAnswers        = "kubeproxy_proxy_livez_total"
	invalidDropped      = "kubeproxy_iptables_ct_state_invalid_dropped_packets_total"
	localhostAccepted   = "kubeproxy_iptables_localhost_nodeports_accepted_packets_total"
	conntrackDuration   = "kubeproxy_conntrack_reconciler_sync_duration_seconds"
	conntrackDeleted    = "kubeproxy_conntrack_reconciler_deleted_entries_total"

	requests           = "rest_client_requests_total"
	requestDuration    = "rest_client_request_duration_seconds"
	requestRateLimiter = "rest_client_rate_limiter_duration_seconds"
	requestRetries     = "rest_client_request_retries_total"
	requestSize        = "rest_client_request_size_bytes"
	responseSize       = "rest_client_response_size_bytes"

	execTTL             = "rest_client_exec_plugin_ttl_seconds"
	execRotationAge     = "rest_client_exec_plugin_certificate_rotation_age"
	execPluginCalls     = "rest_client_exec_plugin_call_total"
	transportEntries    = "rest_client_transport_cache_entries"
	transportCreated    = "rest_client_transport_create_calls_total"
	transportGC         = "rest_client_transport_cache_gc_calls_total"
	transportCAReloads  = "rest_client_transport_ca_reload_total"
	transportRotationGC = "rest_client_transport_cert_rotation_gc_calls_total"

	featureEnabled = "kubernetes_feature_enabled"

	buildInfo    = "kubernetes_build_info"
	healthcheck  = "kubernetes_healthcheck"
	healthchecks = "kubernetes_healthchecks_total"

	oldestChange    = "espalier_oldest_change_age_seconds"
	stageDuration   = "espalier_sync_stage_duration_seconds"
	commits         = "espalier_commits_total"
	writtenBytes    = "espalier_written_bytes_total"
	lockWait        = "espalier_lock_wait_seconds"
	foreignWrites   = "espalier_foreign_writes_total"
	repairs         = "espalier_repairs_total"
	repairedChains  = "espalier_repaired_chains_total"
	repairedJumps   = "espalier_repaired_jumps_total"
	quarantined     = "espalier_quarantined_services"
	quarantinedInfo = "espalier_quarantined_service_info"
	programmed      = "espalier_programmed_services"
	servicePackets  = "espalier_service_first_packets_total"
	serviceBytes    = "espalier_service_first_packets_bytes_total"
)

// These stand in front of the help of every metric of kube-proxy: how likely it is to change with a release.
const (
	alpha = "[ALPHA] "
	beta  = "[BETA] "
)

// The label of the family, with its values IPv4 and IPv6.
const familyLabel = "ip_family"

// syncBuckets are 1 ms to 16 s.
func syncBuckets() (b []float64) {
	for i := range 15 {
		b = append(b, 0.001*math.Pow(2, float64(i)))
	}
	return b
}

// programmingBuckets are fine where the service level objective of clusters is, and reach to five minutes.
func programmingBuckets() []float64 {
	b := []float64{0, 0.25, 0.5} // below zero, clocks differ
	for s := 1; s < 60; s++ {
		b = append(b, float64(s))
	}
	for s := 60; s < 120; s += 5 {
		b = append(b, float64(s))
	}
	for s := 120; s <= 300; s += 30 {
		b = append(b, float64(s))
	}
	return b
}

// requestBuckets are those of Kubernetes for requests to the API server.
func requestBuckets() []float64 {
	return []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60}
}

// sizeBuckets are 64 bytes to 16 MB.
func sizeBuckets() []float64 {
	return []float64{64, 256, 512, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20}
}

// rotationBuckets are ten minutes to four years, in seconds.
func rotationBuckets() []float64 {
	const minute, hour, day = 60, 3600, 24 * 3600
	return []float64{10 * minute, 30 * minute, hour, 4 * hour, day, 7 * day, 30 * day, 90 * day, 180 * day, 360 * day, 1440 * day}
}
