from datetime import UTC
from importlib import import_module

from django.conf import settings
from django.contrib import messages
from django.core.mail import EmailMessage
from django.http import Http404, HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.generic import DetailView, ListView

from .forms import ContactForm, UploadForm
from .models import Job, Recipe


def home(request):
    return render(request, "recipes/home.html", {"latest": Recipe.objects.all()[:3]})


class RecipeList(ListView):
    model = Recipe
    paginate_by = 5

    def get_queryset(self):
        found = super().get_queryset().prefetch_related("ingredients")
        wanted = self.request.GET.get("q")
        return found.filter(title__icontains=wanted) if wanted else found


class RecipeDetail(DetailView):
    model = Recipe

    def get_context_data(self, **kwargs):
        import markdown  # heavy, and only this page needs it

        html = markdown.markdown(self.object.text, extensions=["tables", "fenced_code", "footnotes"])
        return super().get_context_data(html=html, **kwargs)


def contact(request):
    form = ContactForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        mail = EmailMessage(
            _("A table for %(guests)d") % data, data["message"], data["email"], ["cook@larder.example"]
        )
        mail.attach("guest.json", _as_json(data), "application/json")
        mail.send()
        messages.success(request, _("Thank you, %(name)s!") % data)
        return redirect("recipes:home")
    return render(request, "recipes/contact.html", {"form": form}, status=422 if form.errors else 200)


def _as_json(data):
    import json

    from django.core.serializers.json import DjangoJSONEncoder

    return json.dumps(data, cls=DjangoJSONEncoder)


def upload(request):
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        raw = form.cleaned_data["file"].read()
        text = raw.decode(form.cleaned_data["encoding"])
        return JsonResponse(
            {"characters": len(text), "first": text[:8]}, json_dumps_params={"ensure_ascii": False}
        )
    return render(request, "recipes/contact.html", {"form": form})


def export(request, kind):
    if kind not in settings.EXPORTERS:
        raise Http404(kind)
    plugin = import_module(f"recipes.plugins.{settings.EXPORTERS[kind]}")
    content = plugin.write(Recipe.objects.order_by("pk"))
    response = StreamingHttpResponse(content, content_type=plugin.TYPE)
    response["Content-Disposition"] = f'attachment; filename="recipes.{kind}"'
    return response


def clock(request):
    from datetime import datetime
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        zone = ZoneInfo(request.GET.get("zone", "UTC"))
    except (ZoneInfoNotFoundError, ValueError):
        return HttpResponse("no such zone", status=400, content_type="text/plain")
    moment = datetime(2024, 7, 1, 12, tzinfo=UTC).astimezone(zone)
    return HttpResponse(f"{moment:%Y-%m-%d %H:%M %Z}", content_type="text/plain")


def boom(request):
    raise RuntimeError("the oven is on fire")


def sums(request):
    import statistics
    from fractions import Fraction
    from ipaddress import ip_address
    from uuid import NAMESPACE_URL, uuid5

    prices = list(Recipe.objects.order_by("pk").values_list("price", flat=True))
    return JsonResponse(
        {
            "median": str(statistics.median(prices)),
            "share": str(Fraction(1, 3) + Fraction(1, 6)),
            "host": ip_address("::1").exploded,
            "id": str(uuid5(NAMESPACE_URL, "larder")),
            "idna": "bücher.example".encode("idna").decode(),
        }
    )


def later(request):
    job = Job.objects.create(function=request.GET["function"], arguments=request.GET.getlist("argument"))
    return JsonResponse({"job": job.pk}, status=202)


def api(request, pk=None):
    def document(recipe):
        return {"title": recipe.title, "course": recipe.get_course_display(), "price": recipe.price}

    if pk is not None:
        return JsonResponse(document(get_object_or_404(Recipe, pk=pk)))
    return JsonResponse({"recipes": [document(recipe) for recipe in Recipe.objects.order_by("pk")]})
