import csv
import io

TYPE = "text/csv"


def write(recipes):
    for recipe in recipes:
        line = io.StringIO()
        csv.writer(line).writerow([recipe.title, recipe.course, recipe.price])
        yield line.getvalue()
