"""Ray actors: who holds what state, and when it runs."""
