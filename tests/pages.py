"""What a page must be to be read anywhere: whole, and alone."""

from html.parser import HTMLParser

_EMPTY = ("img", "meta", "!doctype")


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.text, self.images = [], [], 0

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "iframe", "object")
        for name, value in attrs:
            assert not name.startswith("on"), "a script"
            if name in ("src", "href", "srcset"):
                assert value.startswith(("data:", "#")), f"{tag} loads {value[:60]}"
        self.images += tag == "img"
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)
        elif self.open:
            assert "url(" not in data
            assert "@import" not in data


def read_page(page):
    """Check that a page is balanced and loads nothing; return its text and how many images it has.

    Raises:
        AssertionError: it is not.
    """
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert page.startswith("<!doctype html>")
    assert not reader.open
    return "\n".join(text.strip() for text in reader.text if text.strip()), reader.images
