"""The threads of a runtime, and what they do.

worker         a thread that is started lazily and ends quickly
wakeup         what a thread sleeps by
ticker         drains, judges, moves machines; no I/O
inline_ticker  the same at the end of calls, without threads
io_worker      everything that can block
event_queue    events on their way into the log
heartbeat      what a process tells its store of itself
warm_up        what is slow the first time, under a lock that a fork waits for
"""
