"""Chunk vectors from hosted APIs, and query partners."""
