"""Jobs: specifications, states and events."""
