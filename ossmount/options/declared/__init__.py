"""The options of `ossmount mount`, a module for each group of them."""
