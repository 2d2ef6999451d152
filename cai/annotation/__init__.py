"""What people said of a run, an evaluation or a file of pairs: records, where they lie, what they come to.

`open_items` lists what there is to look at, `AnnotationStore` keeps what is said of it, `assignment` says what is next.
A page, a command or an import is on top of this; nothing here prints or serves.
"""
