"""The made survey in its demo size, flown once a session."""

from pathlib import Path

import pytest

from anerf.scene.made.survey import make_survey


@pytest.fixture(scope="session")
def demo_survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flights `before` (64 photographs of 320 x 240 with EXIF GPS) and `after` (24), and the truth."""
    out = tmp_path_factory.mktemp("demo") / "survey"
    make_survey(out)
    return out
