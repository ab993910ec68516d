"""Stands in for torchvision, whose wheel does not import beside the CPU build of torch; see ``transforms``."""
