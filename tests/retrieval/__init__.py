"""Tests of `latechunk_integrations.retrieval`."""
