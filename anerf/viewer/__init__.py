"""The browser viewer: panels and camera control, drawing only."""
