"""Tests of `latechunk_integrations.encoders.services`."""
