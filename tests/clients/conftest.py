"""One ``lowtide dev`` for all tests of clients: its start-up is paid once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.site import Site, lowtide_dev


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site on which ``lowtide dev`` runs."""
    laid_out = Site.lay_out(tmp_path_factory.mktemp("site"))
    with lowtide_dev(laid_out):
        yield laid_out


@pytest.fixture(scope="session")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site on which nothing runs."""
    return Site.lay_out(tmp_path_factory.mktemp("idle"))
