"""The commands of `python -m bench`, one module each with a `main(words)`."""
