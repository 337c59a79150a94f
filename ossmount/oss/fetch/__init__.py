"""The data plane: processes that receive the bodies of ranged GETs into the slab."""
