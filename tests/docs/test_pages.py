"""Everything that README and docs show is run, and everything that they point to is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks, name_of
from tests.docs.run import Reader

RUN = {"python", "console"}
SHOWN = {"", "text", "json", "toml", "ini", "http", "promql", "{toctree}", "{eval-rst}"}


@pytest.mark.real
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(block.language in RUN for block in blocks(page))],
    ids=name_of,
)
def test_every_block_does_what_the_page_says(page: Path, tmp_path: Path):
    with Reader(tmp_path, name_of(page)) as reader:
        reader.follow(blocks(page))
