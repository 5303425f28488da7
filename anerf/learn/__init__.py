"""Learning and adapting experts, and measuring the result."""
