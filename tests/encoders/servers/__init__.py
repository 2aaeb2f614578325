"""Tests of `latechunk_integrations.encoders.servers`."""
