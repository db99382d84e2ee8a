from django.contrib import admin
from django.contrib.sitemaps.views import sitemap
from django.urls import include, path
from django.views.i18n import JavaScriptCatalog
from recipes.feeds import LatestRecipes, RecipeSitemap

urlpatterns = [
    path("admin/", admin.site.urls),
    path("accounts/", include("django.contrib.auth.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("jsi18n/", JavaScriptCatalog.as_view(), name="javascript-catalog"),
    path("sitemap.xml", sitemap, {"sitemaps": {"recipes": RecipeSitemap}}, name="sitemap"),
    path("feed/", LatestRecipes(), name="feed"),
    path("", include("recipes.urls")),
]

handler404 = "recipes.errors.not_found"
handler500 = "recipes.errors.broken"
