"""The store of a fleet: Redis alone, behind Sentinel, or as a Cluster.

    link      what the rest needs of a server: one batch, one round trip
    keys      the names of the keys
    fields    the two hashes of the state: reading them, and what to write
    repairs   what to write when they do not say what is in force
    hints     what a change tells everybody at once
    ledger    the state as one process knows it, and every change of it
    log       the stream of events
    fleet     heartbeats, votes, verdicts and leases
    blobs     snapshots
    store     all of it, as a `Store`

Snapshots spread over the slots of a cluster; everything else lies in one.
"""
