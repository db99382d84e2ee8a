"""Trees, layers, configs, manifests and the transports that carry them."""
