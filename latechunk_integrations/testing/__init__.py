"""The conformance kit, for whoever writes an encoder, an adapter or a store."""
