"""Tests of `latechunk_integrations.encoders.model`."""
