"""Tests of the conformance kit, which our own encoders pass too."""
