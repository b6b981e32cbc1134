"""The doors of the head: what others reach over the network."""
