"""Encoders against servers that run for real; `make test-servers` installs them and runs this."""
