"""The bind guard: keeps every socket of Ray on the node's address or loopback, without root."""
