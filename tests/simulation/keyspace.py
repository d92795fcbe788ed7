"""The keys of an in-memory Redis, and the commands on them that the library uses.

Words come as on the command line; replies are those that a script gets: bytes, whole numbers,
lists and None. `test_server.py` compares every command with a real redis-server.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

__all__ = ("Keyspace", "Refused", "words")

Words = Sequence[bytes]

_TRIM_SLACK = 100
"""With `~`, entries of a stream go by whole nodes, of at most a hundred entries."""


class Refused(Exception):
    """An error reply."""


class Stream:
    """Entries in the order of their ids; the last id stays when entries go."""

    def __init__(self) -> None:
        self.ids: list[tuple[int, int]] = []
        self.entries: list[list[bytes]] = []
        self.last = (0, 0)

    def between(self, first: bytes, last: bytes) -> tuple[int, int]:
        return bisect_left(self.ids, _stream_id(first, 0)), bisect_right(
            self.ids, _stream_id(last, 2**64 - 1)
        )

    def rows(self, start: int, end: int) -> list[list[Any]]:
        return [
            [b"%d-%d" % self.ids[at], list(self.entries[at])]
            for at in range(start, max(start, end))
        ]


class ZSet(dict[bytes, float]):
    """Member to score."""


class Keyspace:
    """Keys, values and when they end.

    Args:
        now: Server time, Unix seconds.
        publish: Takes channel and message; returns how many heard it.
    """

    def __init__(self, now: Callable[[], float], publish: Callable[[bytes, bytes], int]) -> None:
        self.values: dict[bytes, Any] = {}
        self.ends: dict[bytes, float] = {}
        self._now = now
        self._publish = publish
        self._commands: dict[bytes, Callable[[Words], Any]] = {
            name[3:].upper().encode(): getattr(self, name)
            for name in dir(self)
            if name.startswith("do_")
        }

    def run(self, command: Words) -> Any:
        """Run one command.

        Raises:
            Refused: It is an error reply.
        """
        do = self._commands.get(command[0].upper())
        if do is None:
            raise Refused(f"ERR unknown command {command[0]!r}")
        try:
            return do(command[1:])
        except (IndexError, ValueError) as error:
            raise Refused(f"ERR {command[0]!r} has wrong arguments") from error

    def copy(self) -> tuple[dict[bytes, Any], dict[bytes, float]]:
        """Return everything as it is, for `put`."""
        return deepcopy((self.values, self.ends))

    def put(self, everything: tuple[dict[bytes, Any], dict[bytes, float]]) -> None:
        """Replace everything by a copy."""
        self.values, self.ends = deepcopy(everything)

    def forget(self, key: bytes) -> bool:
        """Remove one key, as an eviction does."""
        self.ends.pop(key, None)
        return self.values.pop(key, None) is not None

    # ------------------------------------------------------------------ any key

    def do_time(self, _: Words) -> list[bytes]:
        seconds, micros = divmod(round(self._now() * 1e6), 1_000_000)
        return [b"%d" % seconds, b"%d" % micros]

    def do_del(self, keys: Words) -> int:
        return sum(self._alive(key) is not None and self.forget(key) for key in keys)

    do_unlink = do_del

    def do_exists(self, keys: Words) -> int:
        return sum(self._alive(key) is not None for key in keys)

    def do_pexpire(self, args: Words) -> int:
        key, after_ms = args
        if self._alive(key) is None:
            return 0
        if int(after_ms) <= 0:
            self.forget(key)
        else:
            self.ends[key] = self._now() + int(after_ms) / 1_000
        return 1

    def do_flushall(self, _: Words) -> bytes:
        self.values.clear()
        self.ends.clear()
        return b"OK"

    def do_publish(self, args: Words) -> int:
        channel, message = args
        return self._publish(channel, message)

    # ------------------------------------------------------------------ strings

    def do_get(self, args: Words) -> bytes | None:
        (key,) = args
        return self._of(key, bytes)

    def do_mget(self, keys: Words) -> list[bytes | None]:
        found = map(self._alive, keys)
        return [value if isinstance(value, bytes) else None for value in found]

    def do_set(self, args: Words) -> bytes | None:
        key, value, *options = args
        end: float | None = None
        only_new = False
        while options:
            option = options.pop(0).upper()
            if option == b"NX":
                only_new = True
            elif option == b"XX":
                if self._alive(key) is None:
                    return None
            elif option in (b"PX", b"EX"):
                length = int(options.pop(0))
                if length <= 0:
                    raise Refused("ERR invalid expire time in 'set' command")
                end = self._now() + length / (1_000 if option == b"PX" else 1)
            else:
                raise Refused("ERR syntax error")
        if only_new and self._alive(key) is not None:
            return None
        self.forget(key)
        self.values[key] = value
        if end is not None:
            self.ends[key] = end
        return b"OK"

    def do_strlen(self, args: Words) -> int:
        (key,) = args
        return len(self._of(key, bytes) or b"")

    def do_getrange(self, args: Words) -> bytes:
        key, first, last = args
        value = self._of(key, bytes) or b""
        size = len(value)
        start, end = int(first), int(last)
        if start < 0 and end < 0 and start > end:
            return b""
        start = max(start + size, 0) if start < 0 else start
        end = max(end + size, 0) if end < 0 else end
        return value[start : end + 1]

    # ------------------------------------------------------------------ hashes

    def do_hset(self, args: Words) -> int:
        key, *pairs = args
        if not pairs or len(pairs) % 2:
            raise Refused("ERR wrong number of arguments for 'hset' command")
        fields = self._made(key, dict)
        before = len(fields)
        fields.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(fields) - before

    def do_hsetnx(self, args: Words) -> int:
        key, field, value = args
        fields = self._made(key, dict)
        if field in fields:
            return 0
        fields[field] = value
        return 1

    def do_hget(self, args: Words) -> bytes | None:
        key, field = args
        return (self._of(key, dict) or {}).get(field)

    def do_hmget(self, args: Words) -> list[bytes | None]:
        key, *names = args
        if not names:
            raise Refused("ERR wrong number of arguments for 'hmget' command")
        fields = self._of(key, dict) or {}
        return [fields.get(name) for name in names]

    def do_hgetall(self, args: Words) -> list[bytes]:
        (key,) = args
        return [word for pair in (self._of(key, dict) or {}).items() for word in pair]

    def do_hkeys(self, args: Words) -> list[bytes]:
        (key,) = args
        return list(self._of(key, dict) or {})

    def do_hdel(self, args: Words) -> int:
        key, *names = args
        if not names:
            raise Refused("ERR wrong number of arguments for 'hdel' command")
        fields = self._of(key, dict) or {}
        gone = sum(fields.pop(name, None) is not None for name in names)
        return self._trimmed(key, gone)

    def do_hlen(self, args: Words) -> int:
        (key,) = args
        return len(self._of(key, dict) or {})

    def do_hexists(self, args: Words) -> int:
        key, field = args
        return int(field in (self._of(key, dict) or {}))

    def do_hincrby(self, args: Words) -> int:
        key, field, by = args
        fields = self._made(key, dict)
        try:
            total = int(fields.get(field, b"0")) + int(by)
        except ValueError:
            self._trimmed(key, 0)
            raise Refused("ERR hash value is not an integer") from None
        fields[field] = b"%d" % total
        return total

    # ------------------------------------------------------------------ sorted sets

    def do_zadd(self, args: Words) -> int:
        key, *rows = args
        if not rows or len(rows) % 2:
            raise Refused("ERR syntax error")
        scores = [_score(raw) for raw in rows[::2]]
        members = self._made(key, ZSet)
        before = len(members)
        members.update(zip(rows[1::2], scores, strict=True))
        return len(members) - before

    def do_zrem(self, args: Words) -> int:
        key, *names = args
        if not names:
            raise Refused("ERR wrong number of arguments for 'zrem' command")
        members = self._of(key, ZSet) or {}
        gone = sum(members.pop(name, None) is not None for name in names)
        return self._trimmed(key, gone)

    def do_zscore(self, args: Words) -> bytes | None:
        key, member = args
        score = (self._of(key, ZSet) or {}).get(member)
        return None if score is None else _number(score)

    def do_zcard(self, args: Words) -> int:
        (key,) = args
        return len(self._of(key, ZSet) or {})

    def do_zcount(self, args: Words) -> int:
        key, low, high = args
        return len(self._by_score(key, low, high))

    def do_zrangebyscore(self, args: Words) -> list[bytes]:
        key, low, high, *options = args
        found = self._by_score(key, low, high)
        scored = False
        while options:
            option = options.pop(0).upper()
            if option == b"WITHSCORES":
                scored = True
            elif option == b"LIMIT":
                offset, count = int(options.pop(0)), int(options.pop(0))
                found = found[offset : None if count < 0 else offset + count]
            else:
                raise Refused("ERR syntax error")
        if scored:
            return [word for score, name in found for word in (name, _number(score))]
        return [name for _, name in found]

    def do_zremrangebyscore(self, args: Words) -> int:
        key, low, high = args
        found = self._by_score(key, low, high)
        members = self._of(key, ZSet) or {}
        for _, name in found:
            del members[name]
        return self._trimmed(key, len(found))

    def _by_score(self, key: bytes, low: bytes, high: bytes) -> list[tuple[float, bytes]]:
        least, most = _bound(low), _bound(high)
        members = self._of(key, ZSet) or {}
        return sorted(
            (score, name)
            for name, score in members.items()
            if (score > least[0] or (score == least[0] and least[1]))
            and (score < most[0] or (score == most[0] and most[1]))
        )

    # ------------------------------------------------------------------ streams

    def do_xadd(self, args: Words) -> bytes:
        key, *rest = args
        most: int | None = None
        about = False
        if rest[0].upper() == b"MAXLEN":
            about = rest[1] == b"~"
            most = int(rest[1 + (about or rest[1] == b"=")])
            rest = rest[2 + (about or rest[1] == b"=") :]
        asked, *pairs = rest
        if not pairs or len(pairs) % 2:
            raise Refused("ERR wrong number of arguments for 'xadd' command")
        number = _stream_id(asked, 0)
        known = self._of(key, Stream)
        if number <= (known.last if known else (0, 0)):
            raise Refused("ERR The ID specified in XADD is equal or smaller than the top item")
        stream = self._made(key, Stream)
        stream.ids.append(number)
        stream.entries.append(list(pairs))
        stream.last = number
        if most is not None and len(stream.ids) > most + (_TRIM_SLACK if about else 0):
            del stream.ids[: len(stream.ids) - most]
            del stream.entries[: len(stream.entries) - most]
        return b"%d-%d" % number

    def do_xlen(self, args: Words) -> int:
        (key,) = args
        stream = self._of(key, Stream)
        return len(stream.ids) if stream else 0

    def do_xrange(self, args: Words) -> list[list[Any]]:
        key, first, last, *options = args
        stream = self._of(key, Stream)
        if stream is None:
            return []
        start, end = stream.between(first, last)
        count = _count(options)
        return stream.rows(start, end if count is None else min(end, start + count))

    def do_xrevrange(self, args: Words) -> list[list[Any]]:
        key, last, first, *options = args
        stream = self._of(key, Stream)
        if stream is None:
            return []
        start, end = stream.between(first, last)
        count = _count(options)
        return stream.rows(start if count is None else max(start, end - count), end)[::-1]

    # ------------------------------------------------------------------ helpers

    def _alive(self, key: bytes) -> Any:
        end = self.ends.get(key)
        if end is not None and self._now() >= end:
            self.forget(key)
        return self.values.get(key)

    def _of(self, key: bytes, kind: type) -> Any:
        value = self._alive(key)
        if value is not None and type(value) is not kind:
            raise Refused("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def _made(self, key: bytes, kind: type) -> Any:
        found = self._of(key, kind)
        if found is None:
            found = self.values[key] = kind()
        return found

    def _trimmed(self, key: bytes, count: int) -> int:
        """Remove a key that holds nothing any more."""
        if not self.values.get(key, True):
            self.forget(key)
        return count


def words(command: Sequence[str | bytes | int | float]) -> list[bytes]:
    """Return a command as it goes over the wire."""
    return [
        word if isinstance(word, bytes) else str(word).encode("utf-8", "surrogatepass")
        for word in command
    ]


def _stream_id(text: bytes, rest: int) -> tuple[int, int]:
    if text == b"-":
        return (0, 0)
    if text == b"+":
        return (2**64 - 1, 2**64 - 1)
    first, dash, second = text.partition(b"-")
    return (int(first), int(second) if dash else rest)


def _count(options: Words) -> int | None:
    if not options:
        return None
    name, count = options
    if name.upper() != b"COUNT":
        raise Refused("ERR syntax error")
    return max(0, int(count))


def _score(raw: bytes) -> float:
    score = float(raw)
    if math.isnan(score):
        raise Refused("ERR value is not a valid float")
    return score


def _bound(raw: bytes) -> tuple[float, bool]:
    """Return a bound of scores, and whether it belongs to the range."""
    return (_score(raw[1:]), False) if raw.startswith(b"(") else (_score(raw), True)


def _number(score: float) -> bytes:
    return b"%.17g" % score
