"""What `tiedio demo` runs: two models with ties, saved, loaded and fine-tuned by `.keras` and by tiedio.

`text` makes the language model's data, `models` the models and their ties, `subjects` joins them; `measure`
and `ways` return what was measured, and `run` does it all in order; `report` turns that into tables and
`show` prints them. Importing this package loads none of these.
"""
