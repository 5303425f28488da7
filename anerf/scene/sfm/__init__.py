"""Structure from motion: poses from photographs alone, and poses of new photographs among old ones.

pycolmap finds and matches features, maps and adjusts; what is matched with what, where the result lies on
Earth, and that nothing old moves is decided here.
"""
