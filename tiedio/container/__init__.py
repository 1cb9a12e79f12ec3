"""Bytes on disk, and nothing that knows Keras: safe replacement of a file and one safetensors file.

`atomic` replaces a file all at once, `strict_json` and `header` read and write the header of a safetensors
file, `single` writes and maps the tensors of one file, `digests` tells whether its bytes are those that were written.
"""
