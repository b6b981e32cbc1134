"""What was asked for, and where each value came from: values only, no I/O, no environment."""
