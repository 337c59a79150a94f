"""The processes that the daemon starts beside itself: how they begin and how they end."""
