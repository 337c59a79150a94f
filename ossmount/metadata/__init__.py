"""Names, node ids and attributes: namespace, LMDB store, lister. Never imports ossmount.data."""
