"""Pure decisions: no I/O, clock, thread, randomness or logging; time arrives as a number."""
