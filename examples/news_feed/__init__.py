"""A news feed that goes on answering while its ranker is frozen, killed and brought back.

    stories  what there is to read            load     readers, as an open loop
    ranker   a model of what readers like     answers  what an answer is, by its body
    feed     serves readers, guarded          script   freeze, kill, repair, orders
    page     the same for people              checks   what must hold, judged at the end

Run it with `python -m examples.news_feed`; with `--fleet` four feed processes follow through
Redis, which has faults of its own.
"""
