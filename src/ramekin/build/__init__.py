"""From a request to an image: specs, locks and composition."""
