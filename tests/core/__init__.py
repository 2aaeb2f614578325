"""Tests of `latechunk_integrations.core`."""
