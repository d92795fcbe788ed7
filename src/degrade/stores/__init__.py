"""Where a namespace keeps its holds and its log; import the store you use from its module.

memory            the store of one process
sqlite            the store of one host: a file that its processes share
sqlite_schema     the file itself: opening it, its tables, its failures
sqlite_rows       its rows: transactions, reading and writing
sqlite_state      its state, and what to write when it was lost; pure
redis             the store of a fleet
state_changes     what a change makes of the state and the log, for all stores
local_holds       holds in a file of this host, for when the store is dead
state_file        the last known state in a file of this host
private_file      a small file of this user, replaced as a whole
signed_snapshots  signatures of shared snapshots
urls              addresses of stores
"""
