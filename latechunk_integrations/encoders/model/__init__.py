"""What a model's files say: its contract, without its weights."""
