"""Manifest and structure → picture: parts of models as Graphviz draws them, with ties. Needs no Keras."""
