"""Orders of humans, as a process obeys them.

current_orders  the newest state of the store and of this host's file
apply_orders    flags follow orders, and recover when one ends
"""
