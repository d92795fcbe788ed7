"""A news feed that goes on answering while its ranker is frozen, killed and brought back.

    stories       what there is to read                 load      readers, as an open loop
    interactions  who read what, from a seed            classify  what an answer is, by its body
    model         learns from it what to rank           script    freeze, kill, repair, orders
    ranker        serves the model                      checks    what must hold, judged at the end
    feed          serves readers, guarded by `degrade`  view, picture, report   what you see

Run it with `python -m examples.news_feed`; with `--fleet` four feed processes follow through
Redis, which has faults of its own: see `through_redis`.
"""
