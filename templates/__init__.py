"""Files for users to start from; installed as the package `secure_ray._templates`."""
