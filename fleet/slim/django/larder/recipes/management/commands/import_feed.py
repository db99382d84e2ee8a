from datetime import datetime
from email.utils import parsedate_to_datetime
from xml.dom import minidom

from django.core.management.base import BaseCommand
from django.utils import timezone

from recipes.models import Recipe


class Command(BaseCommand):
    help = "Take recipes from a feed on standard input"

    def add_arguments(self, parser):
        parser.add_argument("--encoding", default="utf-8")

    def handle(self, *args, encoding="utf-8", **options):
        import sys

        document = minidom.parseString(sys.stdin.buffer.read().decode(encoding).encode())
        for item in document.getElementsByTagName("item"):
            title = item.getElementsByTagName("title")[0].firstChild.data
            dates = item.getElementsByTagName("pubDate")
            moment = (
                parsedate_to_datetime(dates[0].firstChild.data)
                if dates
                else timezone.make_aware(datetime(2024, 3, 1))
            )
            Recipe.objects.create(title=title, published=moment)
            self.stdout.write(f"{title} {moment:%d %B %Y}")
