"""`python -m ossmount`: the same as the command `ossmount`."""
