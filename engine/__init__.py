"""Machinery that a reader may trust and skip: nothing in here decides what the method is."""
