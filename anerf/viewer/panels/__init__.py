"""The controls of the viewer, a module a panel; one set for each client."""
