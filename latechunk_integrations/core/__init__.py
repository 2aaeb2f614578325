"""Pure functions on arrays and strings: no model, no input or output, no logging."""
