"""Types of an app's workflows for other languages: read from Python signatures as shapes, written as text. Does no I/O."""
