"""A file as one HTML page that needs no network: treemap, ties, tensors, manifest, search. Needs no Keras."""

from tiedio.page.writing import page_of, write_page

__all__ = ["page_of", "write_page"]
