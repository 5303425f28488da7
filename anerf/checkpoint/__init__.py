"""Checkpoints: safetensors shards and the manifest that makes them exist."""
