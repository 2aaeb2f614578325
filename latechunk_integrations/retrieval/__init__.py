"""Selection that knows no framework: snippets of long texts, links worth reading."""
