from __future__ import annotations

import subprocess
import sys

import pytest

from degrade.errors import StoreError
from degrade.settings import open_store
from degrade.stores.redis.transport.address import parse
from degrade.stores.redis.transport.lazy import LazyTransport

URL = "redis://:s3cret@127.0.0.1:1/0"


def test_a_store_that_nobody_used_loads_nothing_not_even_to_close():
    code = (
        "import sys\n"
        "from degrade.settings import open_store\n"
        f"store = open_store({URL!r})\n"
        "repr(store), store.url, store.now(), store.close()\n"
        "assert 'redis' not in sys.modules, 'it was loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_link_refuses_everything():
    link = LazyTransport(parse(URL))
    link.close()
    link.close()
    for act in (
        lambda: link.read("k", [("TIME",)]),
        lambda: link.write("k", [("DEL", "k")]),
        lambda: link.transact(["k"], [], [], deadline=None),
        lambda: link.listen("k", print, lambda: True),
    ):
        with pytest.raises(StoreError, match="closed"):
            act()


def test_it_shows_no_secret():
    link = LazyTransport(parse(URL))
    assert "s3cret" not in f"{link!r} {link.url} {open_store(URL)!r}"
    with pytest.raises(StoreError) as caught:
        link.read("k", [("TIME",)])
    assert "s3cret" not in str(caught.value)
    link.close()
