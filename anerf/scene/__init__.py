"""Scenes: frames, pixels and what a survey is read from."""
