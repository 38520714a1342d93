"""Pages for people: from a YAML file to an HTML page, a PDF and a summary."""
