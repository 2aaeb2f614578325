"""Tests of `latechunk_integrations.llama_index`."""
