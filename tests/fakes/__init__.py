"""Servers on loopback that speak the documented wire formats."""
