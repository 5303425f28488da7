"""anerf: adaptive city-scale NeRFs for emergency awareness."""

__version__ = "0.1.0"
