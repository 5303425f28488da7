"""Fixtures shared by all rooms."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real photographs and golden vectors that lies beside the checkout."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"no real survey data at {SHARED}: put the drz and caliterra folders under {SHARED / 'data'}")
    return SHARED
