"""What every other part stands on: errors, secrets, files, processes, the clock."""
