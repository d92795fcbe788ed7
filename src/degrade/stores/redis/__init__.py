"""The store of a fleet: Redis alone, behind Sentinel, or as a Cluster.

    store     all of it, as a `Store`
    ledger    the state as one process knows it, and every change of it
    fields    the two hashes of the state: reading them, and what to write
    repairs   what to write when they do not say what is in force
    hints     what a change tells everybody at once
    log       the stream of events
    fleet     heartbeats, votes, verdicts and leases
    blobs     snapshots
    keys      the names of the keys
    link      what all of these need of a server: one batch, one round trip
    client    the link to real servers; `late` loads it, the files beside it are its parts

Snapshots spread over the slots of a cluster; everything else lies in one.
"""
