"""Bringing the system up and down, and talking to it."""
