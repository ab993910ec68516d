"""Building blocks of the served networks. Imports torch and nothing of ours."""
