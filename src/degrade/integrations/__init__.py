"""Doors to servers and frameworks; each file needs only its own."""
