"""The store of a fleet: Redis alone, behind Sentinel, or as a Cluster.

link.py       what the rest needs of a server: one batch, one round trip
keys.py       the names of the keys
"""
