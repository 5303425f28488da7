"""From rays to pictures: sampling, compositing, blending."""
