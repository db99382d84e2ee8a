from django.contrib.sitemaps import Sitemap
from django.contrib.syndication.views import Feed

from .models import Recipe


class LatestRecipes(Feed):
    title = "The larder"
    link = "/"
    description = "What was cooked last"

    def items(self):
        return Recipe.objects.all()[:5]

    def item_title(self, item):
        return item.title

    def item_description(self, item):
        return item.text

    def item_pubdate(self, item):
        return item.published


class RecipeSitemap(Sitemap):
    changefreq = "weekly"
    protocol = "http"

    def items(self):
        return Recipe.objects.order_by("title")

    def lastmod(self, item):
        return item.published
