"""Which packages share a layer, and in what order layers stand. No I/O."""
