def deeper():
    raise LookupError("from another file")
