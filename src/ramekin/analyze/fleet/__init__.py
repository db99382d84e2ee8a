"""A fleet: images judged together, each shared byte counted once.

members   the words of a command line -> references of images
sharing   figures of blobs and chains: registry, transfer, disk, who pays, who shares with whom
bases     which bases are in use, and which are builds of one another
contents  the same by package and by file, and the memory of what is mapped
whatif    the figures if the images stood differently, and what a year of updates costs
report    all of it as one value
"""
