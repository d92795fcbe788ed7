"""The news feed on a fleet: four feed processes that agree through a real redis-server.

    server    redis-server: frozen, killed, started again with nothing in it
    health    how the flags stand, asked of each feed process
    phases    with a fault of Redis or without, the ranker well or dead: what is compared
    script    two toggles, faults of Redis, an outage of the ranker, a process that starts cold
    busy      how busy the machine was
    checks    what must hold, judged at the end
    demo      all of it together

Run it with `python -m examples.news_feed --fleet`.
"""
