"""One HTTP client for every server and service."""
