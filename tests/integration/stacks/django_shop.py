"""A small shop of Django, for WSGI and for ASGI servers and for the one of Django itself."""

from __future__ import annotations

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application

VIEWS = "tests.integration.stacks.django_views"

settings.configure(
    ALLOWED_HOSTS=["*"],
    DEBUG=False,
    INSTALLED_APPS=["ninja", "rest_framework"],
    MIDDLEWARE=[
        f"{VIEWS}.open_request",
        "django.contrib.sessions.middleware.SessionMiddleware",
        f"{VIEWS}.name_user",
        "django.middleware.common.CommonMiddleware",
    ],
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
    ROOT_URLCONF=VIEWS,
    SECRET_KEY="k" * 50,
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)

wsgi = get_wsgi_application()
asgi = get_asgi_application()

if __name__ == "__main__":
    execute_from_command_line()
