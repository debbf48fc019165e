import pathlib

import pytest

from watertight_guest import testing


@pytest.fixture
def database(tmp_path):
    return testing.database(tmp_path / "db", pathlib.Path(__file__).parent.parent / "migrations")
