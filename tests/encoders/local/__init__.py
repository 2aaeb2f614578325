"""Tests of `latechunk_integrations.encoders.local`."""
