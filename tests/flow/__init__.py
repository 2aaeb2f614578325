"""Tests of the flow over encoders that pool chunks themselves."""
