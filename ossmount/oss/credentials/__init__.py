"""Where the keys come from that requests are signed with, and how they are renewed before they expire."""
