"""TorchServe as a child process: find Java, pack, configure, supervise, drain. Imports no torch.

The rest of the library knows nothing of TorchServe, so that another engine could take its place.
"""
