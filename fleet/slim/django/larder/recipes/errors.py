import sys

from django.shortcuts import render


def not_found(request, exception):
    return render(request, "404.html", {"path": request.path, "near": _near(request.path)}, status=404)


def _near(path):
    from difflib import get_close_matches

    from .models import Recipe

    names = list(Recipe.objects.values_list("slug", flat=True))
    return get_close_matches(path.strip("/").rpartition("/")[2], names, n=1)


def broken(request):
    import traceback

    kind, _, trace = sys.exc_info()
    last = traceback.extract_tb(trace)[-1].name if trace else ""
    return render(request, "500.html", {"kind": kind.__name__ if kind else "", "last": last}, status=500)
