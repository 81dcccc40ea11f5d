"""From a label array to shared arcs and back to rings: the topology of a map, in whole pixels.

It knows arrays of labels and integer pixel corners; nothing of blocks in files, coordinates on earth, or features.
"""
