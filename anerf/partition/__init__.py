"""Who sees what: centroids, regions, routing and coverage."""
