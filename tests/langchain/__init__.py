"""Tests of `latechunk_integrations.langchain`."""
