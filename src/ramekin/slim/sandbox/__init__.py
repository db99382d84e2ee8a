"""Images run in sandboxes of their own and watched: what they open, execute, look up and listen on."""
