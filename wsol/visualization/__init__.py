"""The library of ``wsol.explain`` and ``wsol.show``: photos are read, classified, localized and drawn."""
