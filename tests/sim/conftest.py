from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from sim.importchild import ImportChild


@pytest.fixture(scope="module")
def one_importer() -> Iterator[None]:
    """One importing process for all tests of a module; it forks for every file as ever, but takes seconds to start."""
    child = ImportChild()
    lent = SimpleNamespace(ask=child.ask, close=lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("sim.assetfolder", "sim.texturefolder"):
            patch.setattr(f"{module}.ImportChild", lambda: lent)
        yield
    child.close()
