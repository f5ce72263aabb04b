from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.activities.compute.local_site import LocalSite


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LocalSite]:
    site = LocalSite(tmp_path)
    yield site
    site.close()
