"""The ladder: what is served when the function is not called, and how snapshots are kept."""
