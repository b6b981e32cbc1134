"""What a live cluster must show. One file for each subject, each with its `Check`."""
