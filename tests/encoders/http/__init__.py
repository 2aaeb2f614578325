"""Tests of `latechunk_integrations.encoders.http`."""
