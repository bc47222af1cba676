"""The programs keep settings and caches in the user's home, fetch fonts, and open windows: none of that here."""

from collections.abc import Iterator
from typing import Any

import pytest
from support.readers.page import ELSEWHERE


@pytest.fixture(scope="session", autouse=True)
def elsewhere(tmp_path_factory: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ELSEWHERE.items():
            patch.setenv(name, value or str(tmp_path_factory.mktemp("home")))
        yield
