from xml.etree import ElementTree
from xml.sax.saxutils import escape

TYPE = "application/xml"


def write(recipes):
    root = ElementTree.Element("recipes")
    for recipe in recipes:
        ElementTree.SubElement(root, "recipe", course=recipe.course).text = escape(recipe.title)
    ElementTree.indent(root)
    yield ElementTree.tostring(root, encoding="unicode")
