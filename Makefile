.PHONY: fleet test

# all images of fleet/, at every level of closure, checked and beside mmdebstrap: docs/fleet.md
fleet:
	scripts/fleet
	scripts/fleet --peer

test:
	scripts/test
