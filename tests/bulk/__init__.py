"""Tests of bulk indexing."""
