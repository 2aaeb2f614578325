"""Everything that knows a model."""
