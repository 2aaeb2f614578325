"""Where chunk rows go."""
