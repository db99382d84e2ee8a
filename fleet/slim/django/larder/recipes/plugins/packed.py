import io
import zipfile

TYPE = "application/zip"


def write(recipes):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for recipe in recipes:
            archive.writestr(f"{recipe.slug}.md", recipe.text)
    yield out.getvalue()
