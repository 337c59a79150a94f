"""What `ossmount bench` measures on a user's own bucket, and the report of it. Reads only."""
