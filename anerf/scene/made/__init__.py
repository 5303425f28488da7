"""The made survey: a procedural city block, photographed from the air before and after an event."""
