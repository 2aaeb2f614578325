"""The flow of an engine whose encoder takes chunks in and gives vectors out."""
