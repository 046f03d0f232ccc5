"""Families of everyday classes written by hand: one module per family, each a table of `Recipe`s."""
