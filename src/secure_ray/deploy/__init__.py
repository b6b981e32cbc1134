"""Files for users to start from, rendered from templates/."""
