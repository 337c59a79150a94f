"""The keeper of a mount: a small process that holds the device and starts a new daemon when one dies.

Standard library only, and nothing else of ossmount: it must be small (every mount has one), and whatever breaks the daemon must
not break it. It never touches a file of the mount, and has no connection to OSS.
"""
