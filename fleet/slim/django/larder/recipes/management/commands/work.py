"""A worker in the manner of Celery's: takes jobs from the database and runs what they name."""

import time

from django.core.management.base import BaseCommand
from django.utils.module_loading import import_string

from recipes.models import Job


class Command(BaseCommand):
    help = "Run the jobs that wait"

    def add_arguments(self, parser):
        parser.add_argument("--once", action="store_true", help="end when no job waits")

    def handle(self, *args, once=False, **options):
        while True:
            job = Job.objects.filter(done=False).order_by("pk").first()
            if job is None:
                if once:
                    return
                time.sleep(1)
                continue
            job.result = import_string(f"recipes.tasks.{job.function}")(*job.arguments)
            job.done = True
            job.save()
            self.stdout.write(self.style.SUCCESS(f"{job}: {job.result}"))
