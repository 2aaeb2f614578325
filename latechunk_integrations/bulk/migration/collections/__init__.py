"""Existing collections, read and written by their stores' own clients."""
