"""Measures of what a network's filters stand for: plain functions on arrays, which know of no model or data set.

Coordinates are (row, column) in pixels of a frame, as edge coordinates: pixel 0 covers 0 to 1, its centre is 0.5.
S pictures, K filters, P parts, maps of n x n places. A part that is absent from a picture is NaN.
"""
