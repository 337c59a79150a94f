"""How many requests and bytes a second are asked of OSS: what the user allows, and what OSS lets through."""
