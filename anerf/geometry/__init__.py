"""Cameras, rays, boxes and the Earth: pure functions."""
