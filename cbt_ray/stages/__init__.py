"""The stages of a study in their order: each says which units are owed and how one is made."""
