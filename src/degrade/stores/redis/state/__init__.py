"""The state of a namespace in Redis, as one process knows it.

repository  the last state read, and every change of it
hash_codec  the two hashes: reading them, and writing a new state
repair      what to write when the hashes do not say what is in force; pure
hints       the message that tells every process of a change
"""
