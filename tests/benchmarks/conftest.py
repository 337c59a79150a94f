"""What the benchmark's tests share: tiny data made once, and a store that serves it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import data, formats, store
from benchmarks.network import NETWORKS


@pytest.fixture(scope="session")
def bench_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which every tiny data set lies."""
    cache = tmp_path_factory.mktemp("bench-cache")
    data.ensure(cache, data.TINY, formats.SETS, list(formats.SETS), lambda text: None)
    return cache


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path: that of a Unix socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="obt-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def store_folder() -> Iterator[Path]:
    """Where the store of the `served` fixture keeps its files."""
    with tempfile.TemporaryDirectory(prefix="obs-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def served(bench_cache: Path, store_folder: Path) -> Iterator[store.LocalStore]:
    root = data.data_root(bench_cache, data.TINY)
    with store.serve(store_folder, root, list(NETWORKS.values())) as serving:
        yield serving
