"""The snapshot rung: stored last good results, from the key of a call to the tiers.

snapshot_rung      the rung: captures healthy results, serves the last one for the same key
keys               the key of a call: its bound arguments with their types, and the subject
stable_text        one text for one value, the same in every process
function_identity  which functions are the same, here and in the whole fleet
codec              typed JSON by the return annotation, in a checked envelope
return_types       resolving return annotations; which types survive JSON
fingerprint        a name for the shape of a type
round_trip         whether the decoded value equals the stored one
fail_fast          validation of untrusted snapshots that ends at the first error
memory_tier        snapshots in the memory of this process
object_size        how many bytes a value takes
capture_budget     how much of a core captures may take
shared_tier        snapshots on their way to and from the store of a fleet
"""
