"""A registry: the OCI distribution specification 1.1 over the store, and images composed when asked for."""
