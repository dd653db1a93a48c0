// Package generation tells whether anybody wrote to the tables since one last looked. Asking takes microseconds,
// whatever the number of rules, so it can be done every second; reading the rules back is then for the times when
// the answer is yes.
//
// It does not know the rules, nor what was written. The one rule to respect: equal stamps are a hint that reading
// back can wait, not a proof that nothing happened; what each backend misses is below, so read back now and then
// all the same.
//
// # nft
//
// The kernel counts the commits to nf_tables of a network namespace, those to tables of other families and other
// programs included: the ruleset generation. NFT_MSG_GETGEN asks for it, without a lock and so without waiting
// for a commit that is under way (kernel: net/netfilter/nf_tables_api.c, nf_tables_getgen). Observed with kernel
// 6.18, iptables 1.8.9 and nft 1.0.6, and each held by a test:
//
//   - Every COMMIT that changes something adds exactly 1, however long it is: so two tables in one input add 2, and
//     so does one table with two COMMITs. Every run of nft that changes something adds 1, whatever the number of
//     its commands.
//   - A COMMIT that changes nothing adds 0: the empty one, the flush of a chain that is empty, the declaration of a
//     chain that is there and empty. One that adds a rule and removes it again adds 1.
//   - A COMMIT that also has to make its table and built-in chains adds 1 as well.
//   - A refused COMMIT, --test, nft --check, all that only lists, and packets add 0. Zeroing the counters of a
//     table with built-in chains adds 1, whether they moved or not.
//   - The legacy backend does not move it.
//
// So whoever made k COMMITs that each changed something, and finds k between the Stamps before and after, was
// alone. Another number means that somebody else wrote as well, or that one of the own COMMITs was for nothing.
//
// Missed: elements that packets add to sets, and tables that end with the program that owns them; iptables-nft
// uses neither.
//
// The answer to NFT_MSG_GETGEN names a process, but that is who asks. Who wrote is told only to those who listen at
// the time of the commit, for whom the kernel then describes each of its rules: 40 ms for 10,000. So it is not known.
//
// # legacy
//
// The kernel keeps no count. IPT_SO_GET_INFO gives the number of entries, their size in bytes, and where the
// built-in chains end. Entries are the rules, two per user-defined chain (its name and its return), one per
// built-in chain (its policy), and one at the end of the table; so the number can be told in advance.
//
// Missed: a write that leaves all of these as they were, such as a rule replaced by one of the same length, two
// rules of one chain that change places, a policy, or the name of a chain. No small question shows these. The lock
// file of the tools is opened, not written, also by iptables -S, and by nobody who has no such file; audit records
// (NETFILTER_CFG) exist only where auditing is on. What shows them is a copy of all entries (IPT_SO_GET_ENTRIES),
// which Print hashes without reading what they mean: about 40 ms for 50,000 rules.
//
// And the question waits while the kernel exchanges a table of the family (net/netfilter/x_tables.c,
// xt_find_table_lock): up to 120 ms during COMMITs of 100,000 rules on 2 cores, where nft answered within 0.1 ms.
//
// Asking for a table makes the kernel load it into the namespace, where all packets then pass it. A table that is
// not named in /proc/net/ip_tables_names is therefore not asked for.
package generation
