"""Making an image smaller by what a running container uses, with nothing broken."""
