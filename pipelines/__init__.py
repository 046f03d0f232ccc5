"""Artifact store, Dask flow, command line and report: what ties the stages together."""
