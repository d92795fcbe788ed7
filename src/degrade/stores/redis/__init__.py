"""The store of a fleet: Redis alone, behind Sentinel, or as a Cluster.

    store         all of it, as a `Store`
    state         the state as one process knows it, and every change of it
    event_stream  the stream of events
    fleet         heartbeats, votes, verdicts and leases
    snapshots     snapshots
    keys          the names of the keys
    transport     what all of these need of a server, and the way to it

Snapshots spread over the slots of a cluster; everything else lies in one.
"""
