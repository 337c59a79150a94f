"""Every option of the mount, declared once: help, documentation, environment names and -o names derive from here."""
