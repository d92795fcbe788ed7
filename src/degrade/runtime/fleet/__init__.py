"""A runtime whose store joins several hosts.

membership         votes, verdicts and leases of this process
hint_listener      hears what changes
snapshot_fetcher   asks the shared tier for a snapshot, for milliseconds
adaptive_timeout   how long a call may wait for that
awaiting           the same wait in a coroutine
state_persistence  saves the state for the next process of this host
"""
