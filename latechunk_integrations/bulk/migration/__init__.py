"""From the early vectors of an existing collection to late ones: the same chunks, embedded anew."""
