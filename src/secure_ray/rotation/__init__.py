"""Certificates on disk and in running processes: told, judged, and moved node by node."""
