"""The elements of an HTML page, as a browser would see them."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {'br', 'wbr', 'img', 'input', 'meta', 'link', 'hr'}


class Tree(HTMLParser):
    """Elements as (tag, attributes, text, children); fails where tags do not match."""

    def __init__(self, page: str):
        super().__init__()
        self.root: dict = {'tag': 'root', 'attributes': {}, 'text': '', 'children': []}
        self.open = [self.root]
        self.all: list[dict] = []
        self.feed(page)
        self.close()
        assert self.open == [self.root], [one['tag'] for one in self.open]

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(self.all[-1])

    def handle_startendtag(self, tag, attrs):
        element = {'tag': tag, 'attributes': dict(attrs), 'text': '', 'children': []}
        self.open[-1]['children'].append(element)
        self.all.append(element)

    def handle_endtag(self, tag):
        assert self.open[-1]['tag'] == tag, (self.open[-1]['tag'], tag)
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element['text'] += data


def inside(element: dict) -> list[dict]:
    found = []
    for child in element['children']:
        found += [child, *inside(child)]
    return found


def with_class(elements: list[dict], *names: str) -> list[dict]:
    return [
        one
        for one in elements
        if set(names) <= set((one['attributes'].get('class') or '').split())
    ]
