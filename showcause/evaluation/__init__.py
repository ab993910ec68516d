"""Measures of what a network's filters stand for, and of where maps point: plain functions on arrays and boxes.

They know of no model or data set. For filters, coordinates are (row, column) in pixels of a frame, for maps x and y in
pixels of the photo; both are edge coordinates: pixel 0 covers 0 to 1, its centre is 0.5. S pictures, K filters,
P parts, maps of n x n places. A part that is absent from a picture is NaN.
"""
