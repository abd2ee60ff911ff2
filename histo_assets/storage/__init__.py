"""IO managers and provenance, over what `core` reads and writes.

What belongs here: where an artefact lies, how it gets there whole, what it was made from, and when
an old one may go. What does not: anything that a reader would call science, and any knowledge of
which assets there are.
"""
