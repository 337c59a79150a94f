"""The daemon of one mount: what it is made of, how it starts and how it ends."""
